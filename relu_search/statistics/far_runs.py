"""Single runs that lie far from the others, and how many seeds they ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relu_search.statistics.paired_tests import (
    FEWEST_SEEDS,
    ROUNDING,
    Scores,
    differences_of,
)

_FAR = 4.0  # robust standard deviations
_SECOND_MODE, _MISSED = 0.25, 0.005


@dataclass(frozen=True, kw_only=True)
class SeedsNeeded:
    """How many seeds a statement about two arms needs, unless they differ by much.

    Attributes:
        least: seeds that are enough for any statement.
        farthest: the largest distance of a run from the median of its arm, or of a difference from
            the median of its pair; 0 where no run lies far from the others.
    """

    least: int = FEWEST_SEEDS
    farthest: float = 0.0

    @property
    def has_far_runs(self) -> bool:
        """Whether runs lie far from the others."""
        return self.farthest > 0

    def shift(self, n: int) -> float:
        """What a difference over n seeds must exceed: 0 with `least` seeds or more.

        With fewer, up to half of the runs of an arm may be far from the others and no seed has
        shown it yet. The mean is then wrong by up to half of their distance.
        """
        return 0.0 if n >= self.least else self.farthest / 2


def seeds_needed(scores: Mapping[str, Scores], pairs: Sequence[tuple[str, str]]) -> SeedsNeeded:
    """Six seeds, or more where single runs lie far from the others.

    Then the noise may have a second mode, as when one run in four hardly learns. Few seeds can miss
    it in one arm: six seeds with a probability of 0.18. So there must be enough seeds that it is
    missed in some comparison with a probability of at most 0.005.

    Args:
        scores: arm -> its accuracies.
        pairs: all pairs that are compared.
    """
    compared = dict.fromkeys(name for pair in pairs for name in pair)
    groups = [np.array([*scores[name].values()]) for name in compared]
    gaps = [differences_of(scores[arm], scores[versus]) for arm, versus in pairs]
    if not (has_far_values(groups) or has_far_values(gaps)):
        return SeedsNeeded()
    return SeedsNeeded(
        least=math.ceil(math.log(_MISSED / len(pairs)) / math.log(1 - _SECOND_MODE)),
        farthest=max(float(d.max()) for d in _distances([*groups, *gaps])),
    )


def has_far_values(groups: Sequence[NDArray[np.float64]]) -> bool:
    """Whether a value lies more than four robust standard deviations from its group's median.

    The robust standard deviation is 1.4826 times the median distance from the median: that of the
    group or that of all groups together, whichever is larger.
    """
    distances = _distances(groups)
    if not distances:
        return False
    of_all = np.median(np.concatenate(distances))
    return any((d > _FAR * 1.4826 * max(of_all, np.median(d)) + ROUNDING).any() for d in distances)


def _distances(groups: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Of the values from the median of their group."""
    return [np.abs(group - np.median(group)) for group in groups if len(group)]
