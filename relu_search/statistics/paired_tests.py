"""Tests of the differences between two arms that are paired by seed.

The tests and intervals are those of scipy; what it does not have is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = Mapping[int, float]
"""Seed -> accuracy, in 0 to 1."""
FEWEST_SEEDS = 6
"""Seeds in common that any verdict needs; with five, the sign-flip p is at least 0.0625."""
ENUMERATED = 20
"""With up to this many pairs all sign flips are enumerated; with more, 99,999 are drawn."""
ROUNDING = 1e-12
"""Differences that vary by less do not vary."""


def differences_of(arm: Scores, versus: Scores) -> NDArray[np.float64]:
    """The differences over the seeds in common, in the order of the seeds."""
    return np.array([arm[seed] - versus[seed] for seed in sorted(arm.keys() & versus.keys())])


def sign_flip_p(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Two-sided p of the sign-flip test: under the null hypothesis every sign is equally likely.

    With n pairs p is at least 2 / 2**n. So six pairs or more are needed for p below 0.05.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) <= ENUMERATED:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate((sums + value, sums - value))
        return float(np.mean(_tied(np.abs(sums)) >= _tied(np.abs(values.sum()))))
    test = stats.permutation_test(
        (values,),
        lambda x, axis: _tied(x.sum(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=99_999,
        batch=10_000,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _tied(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums that differ by rounding alone are equal."""
    return np.round(sums, 10)


def plain_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of the paired t test; without any spread 0, or 1 where all are zero."""
    if np.ptp(differences) < ROUNDING:
        return 1.0 if abs(float(differences.mean())) < ROUNDING else 0.0
    return float(stats.ttest_1samp(differences, 0).pvalue)


def skewed_p(differences: NDArray[np.float64], shift: float = 0.0) -> float:
    """Two-sided p of the paired t test, corrected for skewness if that makes it larger.

    It asks whether the mean is farther from zero than `shift`. The correction is that of Johnson
    (1978), equation 2.5. When most differences are on one side and a few lie far on the other, a
    mean of few of them is uncertain in the direction of the few. The corrected t falls where t is
    large: the correction is made for small t. From its highest point on, it grows like the
    monotone transformation of Hall (1992), equation 2.2.
    """
    n, mean = len(differences), max(0.0, abs(float(differences.mean())) - shift)
    centred = differences - differences.mean()
    variance = float((centred**2).mean())
    if math.sqrt(variance) < ROUNDING * math.sqrt(n - 1):
        return 1.0 if mean < ROUNDING else 0.0
    skewness = math.copysign(1, differences.mean()) * float((centred**3).mean()) / variance**1.5
    t = mean * math.sqrt((n - 1) / variance)
    return 2 * float(stats.t.sf(max(0.0, min(t, _corrected_t(t, skewness, n))), n - 1))


def _corrected_t(t: float, skewness: float, n: int) -> float:
    """t, corrected for a skewness; it never falls as t grows."""
    root = math.sqrt(n - 1)
    if skewness >= 0:
        return t
    top = -1.5 * root / skewness

    def johnson(value: float) -> float:
        return value + skewness * (root / (6 * n) + value**2 / (3 * root))

    def hall(value: float) -> float:
        return top / 1.5 * (1 - (1 - value / (2 * top)) ** 3)

    return johnson(min(t, top)) + hall(max(t, top)) - hall(top)


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Standardised mean difference of two arms of equal size; infinite when neither varies."""
    pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    difference = float(a.mean() - b.mean())
    if max(np.ptp(a), np.ptp(b)) < ROUNDING:
        return math.copysign(math.inf, difference) if abs(difference) >= ROUNDING else 0.0
    freedom = 2 * len(a) - 2
    return difference / pooled * (1 - 3 / (4 * freedom - 1))
