"""The points that may be proposed. A point is one choice index per unit of the search space."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError, SearchSpace

Point = tuple[int, ...]
Points = NDArray[np.int64]
Floats = NDArray[np.float64]

LARGEST_POOL = 4_096
"""In spaces up to this many combinations, all points are candidates."""
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class ChoiceSpace:
    """All points within the limits. Units are in the order of their names, as in Optuna.

    Attributes:
        sizes: choices per unit.
        kept: (units, most choices) number of ReLUs that a choice keeps.
        low, high: limits on the number of ReLUs of a point.
        costs: (costs, units, most choices) what a choice adds to each cost.
        space: the search space; None if only the sizes are known.
    """

    sizes: Point
    kept: NDArray[np.int64]
    low: int
    high: int
    costs: Floats
    space: SearchSpace | None = None

    @classmethod
    def free(cls, sizes: Point) -> ChoiceSpace:
        """Every combination."""
        zeros = np.zeros((len(sizes), max(sizes)), dtype=np.int64)
        return cls(sizes, zeros, 0, 0, np.zeros((0, *zeros.shape)))

    @classmethod
    def of(cls, space: SearchSpace, site_costs: Floats | None = None) -> ChoiceSpace:
        """The placements that a space admits.

        Args:
            space: the search space.
            site_costs: (costs, sites) what keeping each site adds to each cost.
        """
        units = sorted(space.units, key=lambda unit: unit.name)
        sizes = tuple(len(unit.choices) for unit in units)
        per_site = np.ones((1, len(space.backbone.sites)))
        if site_costs is not None:
            per_site = np.concatenate([per_site, site_costs])
        totals = np.zeros((len(per_site), len(units), max(sizes)))
        for number, unit in enumerate(units):
            for index, bits in enumerate(unit.choices.values()):
                on = [site for site, bit in zip(unit.sites, bits, strict=True) if bit == "1"]
                totals[:, number, index] = per_site[:, on].sum(axis=1)
        kept = totals[0].astype(np.int64)
        return cls(sizes, kept, space.min_relus, space.max_relus, totals[1:], space)

    def admits(self, points: Points) -> NDArray[np.bool_]:
        """(n,) whether each of the points, (n, units), is within the limits."""
        count = self.relus_of(points)
        return (count >= self.low) & (count <= self.high)

    def relus_of(self, points: Points) -> NDArray[np.int64]:
        """(n,) ReLUs that each of the points, (n, units), keeps."""
        count: NDArray[np.int64] = self.kept[np.arange(len(self.sizes)), points].sum(axis=1)
        return count

    def costs_of(self, points: Points) -> Floats:
        """(n, costs) of the points, (n, units)."""
        chosen: Floats = self.costs[:, np.arange(len(self.sizes)), points].sum(axis=2).T
        return chosen

    @cached_property
    def pool(self) -> Points | None:
        """(placements, units) all points in canonical form; None if there are too many."""
        if self.space is None or self.space.combinations > LARGEST_POOL:
            return None
        return np.array([self.point_of(p) for p in self._params_of_all()], dtype=np.int64)

    def _params_of_all(self) -> Iterator[dict[str, str]]:
        assert self.space is not None
        for placement in self.space.enumerate():
            params = self.space.encode(placement)
            assert params is not None  # it comes from this space
            yield params

    def point_of(self, params: dict[str, str]) -> Point:
        """The point of a placement, given as labels by unit name."""
        assert self.space is not None
        choices = self.space.choices
        return tuple(choices[name].index(params[name]) for name in sorted(choices))

    def neighbours(self, point: Point) -> list[Point]:
        """Points that differ in one unit; if no such point is within the limits, in two units."""
        return self._changed(point, 1) or self._changed(point, 2)

    def _changed(self, point: Point, count: int) -> list[Point]:
        found: list[Point] = []
        for units in combinations(range(len(self.sizes)), min(count, len(self.sizes))):
            others = ([c for c in range(self.sizes[u]) if c != point[u]] for u in units)
            for choices in product(*others):
                changed = list(point)
                for unit, choice in zip(units, choices, strict=True):
                    changed[unit] = choice
                found.append(tuple(changed))
        if not found:
            return []
        allowed = self.admits(np.array(found))
        return [p for p, admitted in zip(found, allowed, strict=True) if admitted]

    def draw(self, rng: np.random.Generator) -> Point:
        """A random point within the limits, all equally likely."""
        if self.space is None:
            return tuple(int(rng.integers(size)) for size in self.sizes)
        return self.point_of(self.space.sample(random.Random(int(rng.integers(2**62)))))

    def draw_sparse(self, seen: Container[Point], rng: np.random.Generator) -> Point | None:
        """A random point with the fewest ReLUs, but not a seen one; None if none was found."""
        if self.pool is not None:
            left = np.array([p for p in self.pool.tolist() if tuple(p) not in seen], dtype=np.int64)
            left = left.reshape(-1, len(self.sizes))
            count = self.relus_of(left)
            fewest = left[count == count.min(initial=self.high)]
            return tuple(rng.choice(fewest).tolist()) if len(fewest) else None
        for level in self._levels():
            for _ in range(_ATTEMPTS):
                placement = level.decode(level.sample(random.Random(int(rng.integers(2**62)))))
                params = level.encode(level.canonical(placement))
                assert params is not None  # it comes from this space
                if (point := self.point_of(params)) not in seen:
                    return point
        return None

    def _levels(self) -> Iterator[SearchSpace]:
        """The space with one number of ReLUs after another."""
        if self.space is None:
            return
        for count in range(self.low, self.high + 1):
            with suppress(InputError):  # no placement has so many
                yield self.space.with_relus(count, count)

    def draw_many(self, count: int, rng: np.random.Generator) -> Points:
        """(about `count`, units) random points; drawn one by one if few are within the limits."""
        drawn: Points = rng.integers(np.array(self.sizes), size=(count, len(self.sizes)))
        drawn = drawn[self.admits(drawn)]
        if len(drawn) < count // 6:
            one_by_one: list[Any] = [self.draw(rng) for _ in range(count // 6)]
            drawn = np.concatenate([drawn, np.array(one_by_one, dtype=np.int64)])
        return drawn
