"""SearchSpace: the placements of a search, written as a choice for each of several units."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal, get_args

from search_spaces.architecture import Architecture, Site
from search_spaces.backbone_names import parse_backbone
from search_spaces.errors import InputError, require_type, shown
from search_spaces.placement import Placement

NormChoice = Literal["keep", "drop", "search"]
"""What happens to the BatchNorm before a dropped ReLU; `search` makes it one more choice."""
_NORM_UNIT = "norm"

Granularity = Literal["network", "stage", "block", "site"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
ENUMERABLE = 65_536
"""Largest number of combinations of choices that `enumerate` goes through."""


@dataclass(frozen=True)
class Unit:
    """One choice of the search: the bits of some sites.

    Attributes:
        name: parameter name in the Optuna study, such as `stage2` or `block07`.
        sites: indices of the sites that the choice sets; empty for the unit `norm`.
        choices: label of a choice -> bits of these sites; no two choices have the same bits.
    """

    name: str
    sites: tuple[int, ...]
    choices: dict[str, str]


class SearchSpace:
    """All placements of a backbone that a granularity can express, within the ReLU limits.

    ```python
    space = SearchSpace("preresnet-110", granularity="block")
    space.size                                   # 4**54 - 1: without the all-linear net
    space.decode(dict.fromkeys(space.choices, "01")).text   # "01*54"
    ```

    Granularities: `network` has one pattern for all blocks, `stage` one per stage, `block` one per
    block, and `site` one bit per ReLU (the same placements as `block`). In plain networks a block
    is a pair of consecutive convolutions.

    Args:
        backbone: an `Architecture`, such as a `Backbone`, or its name.
        granularity: what one choice sets: the whole network, a stage, a block or a site.
        min_relus: fewest ReLUs kept in the blocks; 1 excludes the all-linear network.
        max_relus: most ReLUs kept in the blocks; None means no limit.
        norm: whether the BatchNorm directly before a dropped ReLU is kept (`keep`), is dropped
            (`drop`), or is one more choice for the whole network (`search`).
        width: width of the backbone if it is given by name; None: 16.

    Raises:
        InputError: unknown granularity or norm, or limits that no placement meets.
    """

    def __init__(
        self,
        backbone: str | Architecture,
        granularity: Granularity = "block",
        *,
        min_relus: int = 1,
        max_relus: int | None = None,
        norm: NormChoice = "keep",
        width: int | None = None,
    ) -> None:
        self.backbone = parse_backbone(backbone, width)
        if not isinstance(granularity, str) or granularity not in GRANULARITIES:
            raise InputError(
                f"granularity {shown(granularity)} is unknown; use one of "
                f"{', '.join(GRANULARITIES)}"
            )
        self.granularity = granularity
        sites = len(self.backbone.sites)
        require_type("min_relus", min_relus, int, "a whole number")
        require_type("max_relus", max_relus, (int, type(None)), "a whole number or None")
        self.min_relus = min_relus
        self.max_relus = sites if max_relus is None else max_relus
        if not 0 <= self.min_relus <= self.max_relus <= sites:
            raise InputError(
                f"ReLU limits {shown(self.min_relus)} to {shown(self.max_relus)} are impossible; "
                f"{self.backbone.name} has {sites} sites, so use 0 <= min <= max <= {sites}"
            )
        if not isinstance(norm, str) or norm not in get_args(NormChoice):
            raise InputError(
                f"norm {shown(norm)} is unknown; use one of {', '.join(get_args(NormChoice))}"
            )
        if norm != "keep":
            self.backbone.check_norms(Placement("1" * sites, dropped_norm="drop"))
        self.norm = norm
        self._placing = _units(self.backbone, granularity)
        norms = Unit(_NORM_UNIT, (), {"keep": "", "drop": ""})
        self.units = (*self._placing, norms) if norm == "search" else self._placing
        if self.size == 0:
            raise InputError(
                f"no placement of {self.backbone.name} at granularity {granularity} keeps "
                f"{self.min_relus} to {self.max_relus} ReLUs; widen the limits"
            )

    def with_relus(self, fewest: int, most: int) -> SearchSpace:
        """The same space with other limits on the number of ReLUs.

        Raises:
            InputError: no placement meets them.
        """
        return SearchSpace(
            self.backbone, self.granularity, min_relus=fewest, max_relus=most, norm=self.norm
        )

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """Name of each unit -> labels of its choices."""
        return {unit.name: tuple(unit.choices) for unit in self.units}

    def decode(self, params: Mapping[str, str]) -> Placement:
        """The placement that the choices of all units give.

        Raises:
            InputError: a unit is missing or its choice is unknown.
        """
        bits = ["0"] * len(self.backbone.sites)
        for unit in self.units:
            choice = params.get(unit.name)
            if choice not in unit.choices:
                raise InputError(
                    f"{unit.name} = {choice!r} is not a choice; use one of {list(unit.choices)}"
                )
            for site, bit in zip(unit.sites, unit.choices[choice], strict=True):
                bits[site] = bit
        norm = params[_NORM_UNIT] if self.norm == "search" else self.norm
        placement = Placement("".join(bits), dropped_norm="drop" if norm == "drop" else "keep")
        return self.backbone.effective(placement)

    def encode(self, placement: Placement) -> dict[str, str] | None:
        """The choices that decode to this placement, or None if there are none."""
        placement = self.backbone.effective(placement)
        if placement.block_norm != "none" or not self._can_have_norm(placement):
            return None
        params: dict[str, str] = {}
        for unit in self._placing:
            wanted = "".join(placement.bits[site] for site in unit.sites)
            label = next((c for c, bits in unit.choices.items() if bits == wanted), None)
            if label is None:
                return None
            params[unit.name] = label
        if self.norm == "search":
            params[_NORM_UNIT] = placement.dropped_norm
        return params

    def _can_have_norm(self, placement: Placement) -> bool:
        if self.norm == "search":
            return True
        wanted = replace(placement, dropped_norm=self.norm)
        return self.backbone.effective(wanted).dropped_norm == placement.dropped_norm

    def canonical(self, placement: Placement) -> Placement:
        """One representative of all placements that give the same family of functions."""
        return self.backbone.canonical(placement)

    def admits(self, placement: Placement) -> bool:
        """Whether the number of kept ReLUs is within the limits."""
        return self.min_relus <= placement.kept <= self.max_relus

    @cached_property
    def size(self) -> int:
        """Exact number of placements in the space that are different functions.

        If the norms are searched, each placement counts twice, except those that drop no ReLU with
        a BatchNorm before it.
        """
        total = self._count(self._placing)
        if self.norm != "search":
            return total
        normed = {site.index for site in self.backbone.sites if not site.after_sum}
        return 2 * total - self._count(tuple(_keeping(normed, unit) for unit in self._placing))

    def _count(self, units: tuple[Unit, ...]) -> int:
        """Number of different functions that these units can give within the limits.

        For DFN it is Burnside's formula for the exchange of branches: half of all placements plus
        half of the placements that the exchange does not change.
        """
        total = _within(_counts_of_all(units), self.min_relus, self.max_relus)
        if self.backbone.symmetry is None:
            return total
        fixed = _counts_of_fixed(units, self.backbone.symmetry)
        return (total + _within(fixed, self.min_relus, self.max_relus)) // 2

    def enumerate(self) -> Iterator[Placement]:
        """Each placement of the space once, in canonical form.

        Raises:
            InputError: there are more than 65,536 combinations.
        """
        if self.combinations > ENUMERABLE:
            raise InputError(
                f"{self.backbone.name} at granularity {self.granularity} has {self.combinations} "
                f"combinations; at most {ENUMERABLE} can be enumerated, so use a coarser "
                "granularity"
            )
        for labels in product(*(unit.choices for unit in self.units)):
            params = dict(zip((unit.name for unit in self.units), labels, strict=True))
            placement = self.decode(params)
            is_twin = params.get(_NORM_UNIT) == "drop" != placement.dropped_norm
            if self.admits(placement) and self.canonical(placement) == placement and not is_twin:
                yield placement

    @cached_property
    def combinations(self) -> int:
        """Number of combinations of choices, without regard to limits and symmetry."""
        result = 1
        for unit in self.units:
            result *= len(unit.choices)
        return result

    def sample(self, rng: random.Random) -> dict[str, str]:
        """Draw choices uniformly from all combinations within the limits.

        The units are drawn one after another. The weight of a choice is the number of ways to
        choose all later units within the limits, so the draw is exactly uniform.
        """
        low, high = self.min_relus, self.max_relus
        params: dict[str, str] = {}
        for unit, completions in zip(self.units, self._completions, strict=True):
            labels = list(unit.choices)
            kept = [unit.choices[label].count("1") for label in labels]
            weights = [_within(completions, low - k, high - k) for k in kept]
            ticket = rng.randrange(sum(weights))
            for label, weight, k in zip(labels, weights, kept, strict=True):
                if ticket < weight:
                    params[unit.name] = label
                    low, high = low - k, high - k
                    break
                ticket -= weight
        return params

    @cached_property
    def _completions(self) -> list[list[int]]:
        """For each unit: the number of ways to choose all later units, by kept ReLUs."""
        result = [[1]]
        for unit in reversed(self.units[1:]):
            result.append(_times(result[-1], _choice_counts(unit)))
        return result[::-1]


def _units(backbone: Architecture, granularity: Granularity) -> tuple[Unit, ...]:
    if granularity == "site":
        digits = len(str(len(backbone.sites)))
        return tuple(
            Unit(f"site{site.index + 1:0{digits}d}", (site.index,), {"0": "0", "1": "1"})
            for site in backbone.sites
        )
    groups: dict[str, list[Site]] = {}
    digits = len(str(max(site.block for site in backbone.sites) + 1))
    stage_digits = len(str(len(backbone.blocks_per_stage)))
    for site in backbone.sites:
        name = {
            "network": "network",
            "stage": f"stage{site.stage + 1:0{stage_digits}d}",
            "block": f"block{site.block + 1:0{digits}d}",
        }[granularity]
        groups.setdefault(name, []).append(site)
    return tuple(
        _pattern_unit(name, sites, backbone.pattern_length(sites)) for name, sites in groups.items()
    )


def _keeping(sites: set[int], unit: Unit) -> Unit:
    """The unit with only the choices that keep all its ReLUs at these sites."""
    choices = {
        label: bits
        for label, bits in unit.choices.items()
        if all(bit == "1" for site, bit in zip(unit.sites, bits, strict=True) if site in sites)
    }
    return Unit(unit.name, unit.sites, choices)


def _pattern_unit(name: str, sites: list[Site], pattern_length: int) -> Unit:
    """A unit whose choices are the block patterns, each set of bits once (its first pattern)."""
    choices: dict[str, str] = {}
    seen: set[str] = set()
    for pattern in map("".join, product("01", repeat=pattern_length)):
        bits = "".join("1" if any(pattern[p] == "1" for p in s.positions) else "0" for s in sites)
        if bits not in seen:
            seen.add(bits)
            choices[pattern] = bits
    return Unit(name, tuple(site.index for site in sites), choices)


# Counting. c[k] is the number of ways to keep k ReLUs: a polynomial sum(c[k] * x**k).


def _choice_counts(unit: Unit) -> list[int]:
    counts = [0] * (len(unit.sites) + 1)
    for bits in unit.choices.values():
        counts[bits.count("1")] += 1
    return counts


def _counts_of_all(units: tuple[Unit, ...]) -> list[int]:
    counts = [1]
    for unit in units:
        counts = _times(counts, _choice_counts(unit))
    return counts


def _counts_of_fixed(units: tuple[Unit, ...], symmetry: tuple[int, ...]) -> list[int]:
    """Number of combinations that the symmetry does not change, by kept ReLUs."""
    unit_of = {site: unit for unit in units for site in unit.sites}
    counts = [1]
    for unit in units:
        partner = unit_of[symmetry[unit.sites[0]]]
        if partner is unit:
            place = {site: i for i, site in enumerate(unit.sites)}
            fixed = [0] * (len(unit.sites) + 1)
            for bits in unit.choices.values():
                if all(bits[i] == bits[place[symmetry[s]]] for s, i in place.items()):
                    fixed[bits.count("1")] += 1
            counts = _times(counts, fixed)
        elif unit.sites < partner.sites:  # the symmetry exchanges two units: count them once
            both = [0] * (2 * len(unit.sites) + 1)
            for bits in unit.choices.values():
                both[2 * bits.count("1")] += 1
            counts = _times(counts, both)
    return counts


def _times(a: list[int], b: list[int]) -> list[int]:
    result = [0] * (len(a) + len(b) - 1)
    for j, y in enumerate(b):
        if y:
            for i, x in enumerate(a):
                result[i + j] += x * y
    return result


def _within(counts: list[int], low: int, high: int) -> int:
    return sum(counts[max(low, 0) : max(high + 1, 0)])
