"""A model of what a training gives, by its placement; its best placement is found exactly.

The model is linear in each site, in each pair of sites of a block, and in smooth functions of the
number of ReLUs in each stage and in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import SplineTransformer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlacementModel:
    """Values of several targets, linear in features of a placement.

    With s = +1 for a kept ReLU and -1 for a dropped one, a value is the sum of `sites` s, of
    `pairs` s s' over adjacent sites, of `stages` by the ReLUs kept in each stage, and of `total`
    by all that are kept.

    Attributes:
        sites: (sites, targets).
        pairs: (sites - 1, targets).
        stages: for each stage (its sites + 1, targets); stages follow each other.
        total: (sites + 1, targets); the constant is a part of it.
    """

    sites: Floats
    pairs: Floats
    stages: tuple[Floats, ...]
    total: Floats

    def predict(self, points: NDArray[np.integer]) -> Floats:
        """Values of placements.

        Args:
            points: (n, sites) of 0 and 1.

        Returns:
            (n, targets).
        """
        signs = 2.0 * points - 1
        values: Floats = signs @ self.sites + (signs[:, :-1] * signs[:, 1:]) @ self.pairs
        for table, counts in zip(self.stages, kept_in(points, self.sizes).T, strict=True):
            values = values + table[counts]
        return values + self.total[points.sum(axis=1)]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Sites of each stage."""
        return tuple(len(table) - 1 for table in self.stages)

    def lowest(self, target: int, kept: Sequence[int]) -> tuple[str, float]:
        """The placement with the lowest value, by dynamic programming over the sites.

        The state is the last bit, the ReLUs kept so far, and those kept so far in the stage.

        Args:
            target: its column.
            kept: allowed numbers of ReLUs.

        Returns:
            Its bits and its value.
        """
        sites, pairs = self.sites[:, target], self.pairs[:, target]
        best: dict[tuple[int, int, int], tuple[float, str]] = {(0, 0, 0): (0.0, "")}
        site = 0
        for size, table in zip(self.sizes, self.stages, strict=True):
            for _ in range(size):
                after: dict[tuple[int, int, int], tuple[float, str]] = {}
                for ((last, total, inside), (value, bits)), bit in product(best.items(), (0, 1)):
                    step = sites[site] * (2 * bit - 1)
                    if site:
                        step += pairs[site - 1] * (1 if bit == last else -1)
                    state = bit, total + bit, inside + bit
                    candidate = value + float(step), f"{bits}{bit}"
                    if state not in after or candidate < after[state]:
                        after[state] = candidate
                best, site = after, site + 1
            ended: dict[tuple[int, int, int], tuple[float, str]] = {}
            for (last, total, inside), (value, bits) in best.items():
                state, candidate = (last, total, 0), (value + float(table[inside, target]), bits)
                if state not in ended or candidate < ended[state]:
                    ended[state] = candidate
            best = ended
        value, bits = min(
            (value + float(self.total[total, target]), bits)
            for (_, total, _), (value, bits) in best.items()
            if total in kept
        )
        return bits, value

    def negated(self) -> PlacementModel:
        """Its lowest value is the highest of this model."""
        stages = tuple(-table for table in self.stages)
        return PlacementModel(-self.sites, -self.pairs, stages, -self.total)


def kept_in(points: NDArray[np.integer], sizes: Sequence[int]) -> Ints:
    """(n, stages): ReLUs kept in each stage, of (n, sites) bits."""
    starts = np.cumsum([0, *sizes[:-1]])
    counts: Ints = np.add.reduceat(points, starts, axis=1)
    return counts


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """Of squared coefficients, for each kind of feature; infinite: the kind is left out."""

    sites: float
    pairs: float
    stages: float
    total: float


@dataclass(frozen=True, eq=False)
class Trainings:
    """What a model is fitted to.

    Attributes:
        points: (trainings, sites) of 0 and 1.
        seeds: (trainings,) from 0.
        values: (trainings, targets).
        sizes: sites of each stage.
        paired: (sites - 1,): whether a site and the next one have an effect together.
    """

    points: Ints
    seeds: Ints
    values: Floats
    sizes: tuple[int, ...]
    paired: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.bool_]) -> Trainings:
        return replace(
            self,
            points=self.points[chosen],
            seeds=self.seeds[chosen],
            values=self.values[chosen],
        )

    @cached_property
    def placements(self) -> Ints:
        """(trainings,): equal numbers for equal placements."""
        return np.unique(self.points, axis=0, return_inverse=True)[1].ravel()


def fitted(data: Trainings, penalties: Penalties) -> tuple[PlacementModel, Floats]:
    """Ridge regression of each target, with an effect of each seed beside the model.

    Returns:
        The model of the mean over all seeds, and (seeds, targets): what each seed adds to it.
    """
    signs = 2.0 * data.points - 1
    counts, sizes = kept_in(data.points, data.sizes), data.sizes
    bases = [smooth_basis(size) for size in (*sizes, sum(sizes))]
    in_all = data.points.sum(axis=1)
    parts: list[tuple[NDArray[np.floating], float]] = [
        (np.eye(data.seeds.max() + 1)[data.seeds], 1e-6),
        (signs, penalties.sites),
        (signs[:, :-1] * signs[:, 1:] * data.paired, penalties.pairs),
        *((basis[n], penalties.stages) for basis, n in zip(bases, counts.T, strict=False)),
        (bases[-1][in_all], penalties.total),
    ]
    used = [(x / np.sqrt(penalty)) if np.isfinite(penalty) else 0 * x for x, penalty in parts]
    matrix = np.hstack(used)
    solved = np.linalg.solve(matrix.T @ matrix + np.eye(matrix.shape[1]), matrix.T @ data.values)
    pieces = np.split(solved, np.cumsum([x.shape[1] for x in used])[:-1])
    seeds, sites, pairs, *smooth = (
        piece / np.sqrt(penalty) if np.isfinite(penalty) else 0 * piece
        for piece, (_, penalty) in zip(pieces, parts, strict=True)
    )
    *stages, total = (basis @ piece for basis, piece in zip(bases, smooth, strict=True))
    mean = seeds.mean(axis=0)
    return PlacementModel(sites, pairs, tuple(stages), total + mean), seeds - mean


def smooth_basis(count: int, knots: int = 8) -> Floats:
    """(count + 1, functions): cubic splines of the square root of a number of ReLUs.

    The square root, since the first few ReLUs matter most.
    """
    roots = np.sqrt(np.arange(count + 1.0))[:, None]
    basis: Floats = SplineTransformer(n_knots=knots, degree=3).fit_transform(roots)
    return basis


def held_out(data: Trainings, penalties: Penalties, folds: int = 10) -> Floats:
    """(trainings, targets): predicted by models that saw no training of the same placement."""
    found = np.empty_like(data.values)
    fold_of = np.random.default_rng(0).permutation(data.placements.max() + 1) % folds
    for fold in range(folds):
        out = fold_of[data.placements] == fold
        model, seeds = fitted(data.rows(~out), penalties)
        found[out] = model.predict(data.points[out]) + seeds[data.seeds[out]]
    return found


GRID = tuple(
    Penalties(sites=sites, pairs=pairs, stages=stages, total=1.0)
    for sites in (30.0, 100.0, 300.0, 1000.0)
    for pairs in (100.0, 300.0, 1000.0, np.inf)
    for stages in (1.0, 10.0, 100.0, np.inf)
)


def fitted_best(data: Trainings) -> tuple[PlacementModel, Floats, list[Penalties]]:
    """`fitted`, with the penalties of each target that predict held-out placements best.

    Returns:
        The model, the effects of seeds, and the penalties of each target.
    """
    errors = [((held_out(data, each) - data.values) ** 2).mean(axis=0) for each in GRID]
    chosen = np.argmin(errors, axis=0)
    columns = []
    for target, number in enumerate(chosen):
        one = replace(data, values=data.values[:, [target]])
        columns.append(fitted(one, GRID[number]))
    models = [model for model, _ in columns]
    joined = PlacementModel(
        np.hstack([model.sites for model in models]),
        np.hstack([model.pairs for model in models]),
        tuple(map(np.hstack, zip(*(model.stages for model in models), strict=True))),
        np.hstack([model.total for model in models]),
    )
    return joined, np.hstack([seeds for _, seeds in columns]), [GRID[n] for n in chosen]
