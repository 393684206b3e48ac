"""Ratios on fresh seeds: the curve with simultaneous intervals, and the set of the best ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

ERROR = 0.05
"""Probability that the set lacks the best ratio, and that an interval lacks its mean."""
FEWEST_SEEDS = 3
"""Fewest seeds in common from which a ratio can be excluded."""


@dataclass(frozen=True, kw_only=True)
class RatioPoint:
    """The best placement of a ratio on fresh seeds; accuracies in 0 to 1.

    Attributes:
        ratio: such as `2:1`.
        n: its seeds.
        mean: test accuracy.
        low, high: the intervals of all ratios together hold with 95 %; None with one seed.
        in_set: whether the ratio is in the set that contains the best one with 95 %.
    """

    ratio: str
    n: int
    mean: float
    low: float | None
    high: float | None
    in_set: bool


@dataclass(frozen=True, kw_only=True)
class RatioCurve:
    """All ratios that a confirmation compares, in its order."""

    points: list[RatioPoint]

    def sentence(self) -> str:
        """The best ratio, or the set that contains it."""
        names = [point.ratio for point in self.points if point.in_set]
        if len(names) == 1:
            return f"The best ratio of these is {names[0]} (95 %)."
        if len(names) == len(self.points):
            return f"The ratios {_list(names)} cannot be told apart yet."
        return f"The best ratio of these is among {_list(names)} (95 %)."

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {"sentence": self.sentence(), "ratios": [asdict(point) for point in self.points]}


def ratio_curve(scores: Mapping[str, Mapping[int, float]]) -> RatioCurve:
    """Compare ratios by the accuracies of their placements, seed by seed.

    A ratio is excluded if a one-sided paired t test shows that it is behind another one, at the
    level 0.05 / (ratios - 1). The best ratio is wrongly excluded only if one of its own tests errs,
    so the set contains it with 95 %. The intervals are t intervals at 1 - 0.05 / ratios each.

    Args:
        scores: ratio -> seed -> accuracy, for at least two ratios with a seed each.
    """
    excluded = {
        ratio
        for ratio, own in scores.items()
        for other, theirs in scores.items()
        if other != ratio and _is_behind(own, theirs, ERROR / (len(scores) - 1))
    }
    return RatioCurve(
        points=[
            _point(ratio, own, 1 - ERROR / (2 * len(scores)), ratio not in excluded)
            for ratio, own in scores.items()
        ]
    )


def _is_behind(own: Mapping[int, float], other: Mapping[int, float], level: float) -> bool:
    shared = sorted(own.keys() & other.keys())
    if len(shared) < FEWEST_SEEDS:
        return False
    gaps = np.array([own[seed] - other[seed] for seed in shared])
    spread = float(gaps.std(ddof=1))
    if spread < 1e-12:  # no seed says how certain it is
        return False
    t = float(gaps.mean()) / (spread / math.sqrt(len(gaps)))
    return float(stats.t.cdf(t, len(gaps) - 1)) < level


def _point(ratio: str, own: Mapping[int, float], quantile: float, in_set: bool) -> RatioPoint:
    values = np.array(list(own.values()))
    n, mean = len(values), float(values.mean())
    low = high = None
    if n > 1:
        half = float(stats.t.ppf(quantile, n - 1) * values.std(ddof=1) / math.sqrt(n))
        low, high = mean - half, mean + half
    return RatioPoint(ratio=ratio, n=n, mean=mean, low=low, high=high, in_set=in_set)


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
