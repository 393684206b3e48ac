"""How many more seeds would decide a comparison, if its estimates are right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from relu_search.confirmation.looks import FEWEST_SEEDS, level_of

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
    least: int = FEWEST_SEEDS,
) -> int | None:
    """About how many more seeds an inconclusive comparison needs.

    The smaller of two numbers, each for a power of 0.8 at the level of the next look: to show the
    observed difference, or to show equivalence.

    Args:
        difference, spread: mean and std (ddof = 1) of the differences so far, in 0 to 1.
        n: number of seeds so far, which have been looked at.
        margin: of equivalence, in 0 to 1.
        family: number of comparisons that share the error.
        least: seeds that any verdict needs.

    Returns:
        None if more than 1,000 seeds would be needed.
    """
    before = n if n >= FEWEST_SEEDS else None
    seeds = np.arange(max(n + 1, least, FEWEST_SEEDS + 1), MOST_SEEDS + 1)  # six need one sign
    if spread <= 0:
        return int(seeds[0]) - n if difference and len(seeds) else None
    levels = np.array([level_of(int(k), before) for k in seeds]) / family
    error = spread / np.sqrt(seeds)
    shown = t_power(abs(difference) / error, levels / 2, seeds - 1)
    equal = (
        t_power((margin - difference) / error, levels, seeds - 1)
        + t_power((margin + difference) / error, levels, seeds - 1)
        - 1
    )
    enough = np.flatnonzero(np.maximum(shown, equal) >= POWER)
    return int(seeds[enough[0]]) - n if len(enough) else None


def t_power(shift: Floats, level: Floats, freedom: Floats | NDArray[np.int64]) -> Floats:
    """Power of a one-sided t test by the normal approximation to the noncentral t distribution.

    Johnson and Welch (1940); it is exact for many degrees of freedom.

    Args:
        shift: the true difference in standard errors.
        level: one-sided.
        freedom: degrees of freedom.
    """
    critical = stats.t.isf(level, freedom)
    power: Floats = stats.norm.cdf(
        (shift - critical * (1 - 1 / (4 * freedom))) / np.sqrt(1 + critical**2 / (2 * freedom))
    )
    return power
