"""Single runs that lie far from the others, and what they do to statements about few seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from relu_search.statistics.paired_tests import (
    FEWEST_SEEDS,
    ROUNDING,
    Scores,
    differences_of,
    plain_p,
    skewed_p,
)

FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float64])

_FAR = 4.0  # robust standard deviations
_SECOND_MODE, _MISSED = 0.25, 0.005


@dataclass(frozen=True, kw_only=True)
class FarRuns:
    """Runs that lie far from the others. Few seeds can miss them in an arm that has them.

    Attributes:
        distance: median of the distances of far runs from the median of their arm, and of far
            differences from the median of their pair; 0 where there are none.
        pairs: that are compared.
    """

    distance: float = 0.0
    pairs: int = 1

    def __bool__(self) -> bool:
        return self.distance > 0

    @property
    def least_seeds(self) -> int:
        """Seeds that show far runs of every arm, if one run in four is far: six or more.

        They miss them in some comparison with a probability of at most 0.005; six seeds miss them
        in one arm with a probability of 0.18. Without far runs: six.
        """
        if not self:
            return FEWEST_SEEDS
        return math.ceil(math.log(_MISSED / self.pairs) / math.log(1 - _SECOND_MODE))

    def shift(self, n: FloatOrArray) -> FloatOrArray:
        """What a difference over n seeds must exceed, since n seeds may miss far runs.

        It is the share of far runs that n seeds miss in some comparison with a probability of
        0.005, times their distance: a mean that lacks them is wrong by that much. The share is 0.59
        with 6 seeds and one comparison, 0.71 with nine; with 30 seeds it is 0.16 and 0.22.
        """
        return (1 - (_MISSED / self.pairs) ** (1 / n)) * self.distance

    def p(self, differences: NDArray[np.float64]) -> float:
        """Two-sided p of differences that are paired by seed: do they differ in the mean?

        By the paired t test. Beside far runs, the mean must exceed the `shift`, by `skewed_p`.
        """
        if self:
            return skewed_p(differences, self.shift(len(differences)))
        return plain_p(differences)


def far_runs(scores: Mapping[str, Scores], pairs: Sequence[tuple[str, str]]) -> FarRuns:
    """The far runs of arms that are compared: their noise may have a second mode.

    Args:
        scores: arm -> its accuracies.
        pairs: all pairs that are compared.
    """
    compared = dict.fromkeys(name for pair in pairs for name in pair)
    runs = far_distances([np.array([*scores[name].values()]) for name in compared])
    gaps = far_distances([differences_of(scores[arm], scores[versus]) for arm, versus in pairs])
    found = np.concatenate([runs, gaps])
    return FarRuns(distance=float(np.median(found)), pairs=len(pairs)) if len(found) else FarRuns()


def far_distances(groups: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The distances of far values from the median of their group.

    A value is far if it lies more than four robust standard deviations from this median. The robust
    standard deviation is 1.4826 times the median distance from the median: that of the group or
    that of all groups together, whichever is larger.
    """
    distances = [np.abs(group - np.median(group)) for group in groups if len(group)]
    if not distances:
        return np.empty(0)
    of_all = np.median(np.concatenate(distances))
    least = [_FAR * 1.4826 * max(of_all, np.median(d)) + ROUNDING for d in distances]
    return np.concatenate([d[d > far] for d, far in zip(distances, least, strict=True)])
