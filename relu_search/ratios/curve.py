"""Ratios on fresh seeds: the curve with simultaneous intervals, and the set of the best ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from relu_search.statistics.far_runs import FarRuns, far_runs
from relu_search.statistics.paired_tests import (
    FEWEST_SEEDS,
    ROUNDING,
    Scores,
    differences_of,
)

ERROR = 0.05
"""Probability that the set lacks the best ratio, and that an interval lacks its mean."""


@dataclass(frozen=True, kw_only=True)
class RatioPoint:
    """The best placement of a ratio on fresh seeds; accuracies in 0 to 1.

    Attributes:
        ratio: such as `2:1`.
        n: its seeds.
        mean: test accuracy.
        low, high: the intervals of all ratios together hold with 95 %; within 0 to 1; None with one
            seed.
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
    """All ratios that a confirmation compares, in its order.

    Attributes:
        points: one for each ratio.
        far: the runs far from the others.
    """

    points: list[RatioPoint]
    far: FarRuns

    def sentence(self) -> str:
        """The best ratio, or the set that contains it."""
        names = [point.ratio for point in self.points if point.in_set]
        if len(names) == 1:
            return f"The best ratio of these is {names[0]} (95 %)."
        if len(names) == len(self.points):
            return f"The ratios {_list(names)} cannot be told apart yet.{self._missing_seeds()}"
        return f"The best ratio of these is among {_list(names)} (95 %).{self._missing_seeds()}"

    def _missing_seeds(self) -> str:
        """How many seeds are needed, if there are fewer."""
        least = self.far.least_seeds
        if least <= min(point.n for point in self.points if point.in_set):
            return ""
        if not self.far:
            return f" This needs {least} seeds or more."
        return (
            f" Some runs lie far from the others. Fewer than {least} seeds can miss such runs: the "
            "intervals may be too short, and more seeds can exclude more ratios."
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "sentence": self.sentence(),
            "least_seeds": self.far.least_seeds,
            "ratios": [asdict(point) for point in self.points],
        }


def ratio_curve(scores: Mapping[str, Mapping[int, float]]) -> RatioCurve:
    """Compare ratios by the accuracies of their placements, seed by seed.

    A ratio is excluded if a one-sided paired t test shows that it is behind another one, at the
    level 0.05 / (ratios - 1). The best ratio is wrongly excluded only if one of its own tests errs,
    so the set contains it with 95 %. Where single runs lie far from the others, the test is that of
    a verdict (`FarRuns.p`). The intervals are t intervals at 1 - 0.05 / ratios each.

    Args:
        scores: ratio -> seed -> accuracy, for at least two ratios with a seed each.
    """
    far = far_runs(scores, list(combinations(scores, 2)))
    excluded = {
        ratio
        for ratio, own in scores.items()
        for other, theirs in scores.items()
        if other != ratio and _is_behind(own, theirs, ERROR / (len(scores) - 1), far)
    }
    return RatioCurve(
        points=[
            _point(ratio, own, 1 - ERROR / (2 * len(scores)), ratio not in excluded)
            for ratio, own in scores.items()
        ],
        far=far,
    )


def _is_behind(own: Scores, other: Scores, level: float, far: FarRuns) -> bool:
    gaps = differences_of(own, other)
    if len(gaps) < FEWEST_SEEDS or gaps.mean() >= 0 or np.ptp(gaps) < ROUNDING:
        return False  # without any spread, no seed says how certain the gap is
    return far.p(gaps) / 2 < level


def _point(ratio: str, own: Mapping[int, float], quantile: float, in_set: bool) -> RatioPoint:
    values = np.array(list(own.values()))
    n, mean = len(values), float(values.mean())
    low = high = None
    if n > 1:
        half = float(stats.t.ppf(quantile, n - 1) * values.std(ddof=1) / math.sqrt(n))
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    return RatioPoint(ratio=ratio, n=n, mean=mean, low=low, high=high, in_set=in_set)


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
