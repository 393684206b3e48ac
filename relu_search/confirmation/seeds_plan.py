"""How many more seeds would decide a comparison, if its estimates are right."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from relu_search.confirmation.looks import level_of
from relu_search.statistics.far_runs import FarRuns
from relu_search.statistics.paired_tests import FEWEST_SEEDS

POWER = 0.8
MOST_SEEDS = 1_000
"""In one confirmation."""

Floats = NDArray[np.float64]


def more_seeds(
    difference: float,
    spread: float,
    n: int,
    *,
    margin: float,
    family: int,
    far: FarRuns | None = None,
) -> int | None:
    """About how many more seeds an inconclusive comparison needs.

    The smaller of two numbers, each for a power of 0.8 at the level of the next look: to show the
    observed difference, or to show equivalence.

    Args:
        difference, spread: mean and std (ddof = 1) of the differences so far, in 0 to 1.
        n: number of seeds so far, which have been looked at.
        margin: of equivalence, in 0 to 1.
        family: number of comparisons that share the error.
        far: the far runs of all arms; None: there are none.

    Returns:
        None if more than 1,000 seeds would be needed.
    """
    far = far or FarRuns()
    first = max(n + 1, FEWEST_SEEDS + 1)  # six must all have one sign
    if first > MOST_SEEDS:
        return None
    seeds, two_sided, one_sided = _critical(n if n >= FEWEST_SEEDS else None, family)
    seeds, two_sided, one_sided = (column[first:] for column in (seeds, two_sided, one_sided))
    if spread <= 0:
        certain = np.flatnonzero(abs(difference) > far.shift(seeds))
        return int(seeds[certain[0]]) - n if len(certain) else None
    error = spread / np.sqrt(seeds)
    shown = _t_power((abs(difference) - far.shift(seeds)) / error, two_sided, seeds - 1)
    room = margin - abs(difference)
    if room > 0:
        equal = _t_power(room / error, one_sided, seeds - 1) - 1
        equal += _t_power((margin + abs(difference)) / error, one_sided, seeds - 1)
        shown = np.maximum(shown, np.where(seeds < far.least_seeds, 0, equal))
    enough = np.flatnonzero(shown >= POWER)
    return int(seeds[enough[0]]) - n if len(enough) else None


@cache
def _critical(before: int | None, family: int) -> tuple[Floats, Floats, Floats]:
    """0, 1, 2, ... seeds; critical t there, two-sided and one-sided; NaN where no look can be."""
    seeds = np.arange(MOST_SEEDS + 1, dtype=np.float64)
    after = seeds > (before or FEWEST_SEEDS - 1)
    levels = np.full(len(seeds), np.nan)
    levels[after] = [level_of(int(n), before) / family for n in seeds[after]]
    return seeds, stats.t.isf(levels / 2, seeds - 1), stats.t.isf(levels, seeds - 1)


def _t_power(shift: Floats, critical: Floats, freedom: Floats) -> Floats:
    """Power of a one-sided t test by the normal approximation to the noncentral t distribution.

    Johnson and Welch (1940); exact for many degrees of freedom.

    Args:
        shift: the true difference in standard errors.
        critical: t that must be exceeded.
        freedom: degrees of freedom.
    """
    power: Floats = ndtr(
        (shift - critical * (1 - 1 / (4 * freedom))) / np.sqrt(1 + critical**2 / (2 * freedom))
    )
    return power
