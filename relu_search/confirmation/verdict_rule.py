"""Statistics of a confirmation: compare arms seed by seed and give a verdict.

Runs are paired by seed: arms trained with the same seed share initial weights, image order, crops,
flips and split. Accuracies, differences and margins are in 0 to 1. The tests and intervals are
those of scipy and statsmodels.

The rule. An arm is *better* (or *worse*) than a reference when the Holm-adjusted p of the paired t
test and the exact sign-flip p, which assumes no normality, are both at most 0.05. It is
*equivalent* when two one-sided t tests place the difference within the margin (p at most 0.05).
Otherwise the comparison is *inconclusive*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
Scores = Mapping[int, float]
"""Seed -> accuracy."""

LEVEL = 0.05
POWER = 0.8
MARGIN = 0.003
"""Default margin of equivalence: 0.3 percentage points."""
ENUMERATED = 20
"""With up to this many pairs all sign flips are enumerated; with more, 99,999 are drawn."""
RESAMPLES = 9_999
_MOST_SEEDS = 1_000
_FEWEST_SEEDS = 7  # with six, all six differences must have the same sign
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against a reference, over the seeds they have in common.

    Attributes:
        n: number of seeds in common.
        mean, std: of the arm over these seeds (std with ddof = 1).
        reference_mean: of the reference over these seeds.
        difference: mean of arm minus reference.
        t_low, t_high: 95 % confidence interval of the difference by Student's t.
        bca_low, bca_high: 95 % interval by the BCa bootstrap (Efron 1987).
        p_t: two-sided paired t test.
        p_sign_flip: two-sided sign-flip test of the mean difference, exact to n = 20.
        hedges_g: standardised difference by the pooled std of both arms, times the small-sample
            factor 1 - 3 / (4m - 1) with m = 2n - 2 (Hedges 1981, eq. 6e).
        p_superior: P(A > B), the share of all n * n pairs of runs in which the arm is better; a
            tie counts half.
        p_tost: two one-sided paired t tests against the margin.
    """

    n: int
    mean: float
    std: float
    reference_mean: float
    difference: float
    t_low: float
    t_high: float
    bca_low: float
    bca_high: float
    p_t: float
    p_sign_flip: float
    hedges_g: float
    p_superior: float
    p_tost: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A comparison with its verdict.

    Attributes:
        p_t_holm: `p_t`, adjusted by Holm's procedure over all arms with the same reference.
        more_seeds: for *inconclusive*: about how many more seeds are needed to show the observed
            difference, or equivalence, with a power of 0.8; None: more than 1,000, or the verdict
            is not *inconclusive*.
    """

    comparison: Comparison
    p_t_holm: float
    verdict: Verdict
    more_seeds: int | None


def judge(
    arms: Mapping[str, Scores],
    reference: Scores,
    *,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
) -> dict[str, Judgement]:
    """Compare every arm with one reference; p values adjusted over the arms by Holm.

    ```python
    judge({"2:1": {1: 0.92, 2: 0.91}}, {1: 0.90, 2: 0.88})["2:1"].verdict   # "inconclusive"
    ```

    Arms with fewer than two seeds in common with the reference are left out.
    """
    comparisons = {
        name: compare(scores, reference, margin=margin, resamples=resamples)
        for name, scores in arms.items()
        if len(scores.keys() & reference.keys()) >= 2
    }
    if not comparisons:
        return {}
    adjusted = multipletests([c.p_t for c in comparisons.values()], method="holm")[1]
    return {
        name: _judged(comparison, float(p), margin=margin, arms=len(comparisons))
        for (name, comparison), p in zip(comparisons.items(), adjusted, strict=True)
    }


def compare(
    arm: Scores, reference: Scores, *, margin: float = MARGIN, resamples: int = RESAMPLES
) -> Comparison:
    """Compare one arm with a reference.

    Raises:
        ValueError: fewer than two seeds in common.
    """
    seeds = sorted(arm.keys() & reference.keys())
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} seeds in common; a comparison needs two seeds in common")
    a = np.array([arm[seed] for seed in seeds])
    b = np.array([reference[seed] for seed in seeds])
    differences, n = a - b, len(seeds)
    difference = float(differences.mean())
    if np.ptp(differences) < _ROUNDING:  # no variance: the interval is a point
        t_low = t_high = bca_low = bca_high = difference
        p_t = 1.0 if abs(difference) < _ROUNDING else 0.0
        p_tost = float(abs(difference) >= margin)
    else:
        test = stats.ttest_rel(a, b)
        t_low, t_high = map(float, test.confidence_interval(1 - LEVEL))
        p_t = float(test.pvalue)
        bca_low, bca_high = _bca_interval(differences, resamples)
        p_tost = float(ttost_paired(a, b, -margin, margin)[0])
    return Comparison(
        n=n,
        mean=float(a.mean()),
        std=float(a.std(ddof=1)),
        reference_mean=float(b.mean()),
        difference=difference,
        t_low=t_low,
        t_high=t_high,
        bca_low=bca_low,
        bca_high=bca_high,
        p_t=p_t,
        p_sign_flip=sign_flip_p(differences),
        hedges_g=hedges_g(a, b),
        p_superior=float(stats.mannwhitneyu(a, b).statistic) / n**2,
        p_tost=p_tost,
    )


def sign_flip_p(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Two-sided p of the sign-flip test: under the null hypothesis every sign is equally likely.

    With n pairs p is at least 2 / 2**n. So six pairs or more are needed for p below 0.05.
    """
    values = np.asarray(differences, dtype=np.float64)
    exact = len(values) <= ENUMERATED
    test = stats.permutation_test(
        (values,),
        lambda x, axis: np.round(x.sum(axis=axis), 10),  # so that rounding does not break ties
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**ENUMERATED if exact else 99_999,
        batch=65_536,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Standardised mean difference of two arms of equal size; infinite when neither varies."""
    pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    difference = float(a.mean() - b.mean())
    if max(np.ptp(a), np.ptp(b)) < _ROUNDING:
        return math.copysign(math.inf, difference) if abs(difference) >= _ROUNDING else 0.0
    freedom = 2 * len(a) - 2
    return difference / pooled * (1 - 3 / (4 * freedom - 1))


def _bca_interval(differences: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    result = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=1 - LEVEL,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _judged(comparison: Comparison, p_t_holm: float, *, margin: float, arms: int) -> Judgement:
    verdict: Verdict = "inconclusive"
    if p_t_holm <= LEVEL and comparison.p_sign_flip <= LEVEL:
        verdict = "better" if comparison.difference > 0 else "worse"
    elif comparison.p_tost <= LEVEL:
        verdict = "equivalent"
    more = more_seeds(comparison, margin=margin, arms=arms) if verdict == "inconclusive" else None
    return Judgement(comparison=comparison, p_t_holm=p_t_holm, verdict=verdict, more_seeds=more)


def more_seeds(comparison: Comparison, *, margin: float, arms: int) -> int | None:
    """About how many more seeds an inconclusive comparison needs, if its estimates are right.

    The smaller of two numbers, each for a power of 0.8: to show the observed difference, at level
    0.05 divided by the number of arms; to show equivalence, where the observed difference is within
    the margin.
    """
    c = comparison
    half_width = c.t_high - c.difference
    spread = half_width / float(stats.t.ppf(1 - LEVEL / 2, c.n - 1)) * math.sqrt(c.n)
    plans = [float(_FEWEST_SEEDS)]
    if spread > 0:
        plans = []
        if c.difference:
            effect = min(abs(c.difference) / spread, 2.0)  # above 2, _FEWEST_SEEDS are enough
            # A much smaller effect needs more than 1,000 seeds, and the solver finds no root.
            if effect > 2.8 / math.sqrt(_MOST_SEEDS):
                needed = TTestPower().solve_power(
                    effect_size=effect, alpha=LEVEL / arms, power=POWER
                )
                plans.append(max(_FEWEST_SEEDS, float(np.squeeze(needed))))
        room = margin - abs(c.difference)
        if room > 0:
            z = stats.norm.ppf(1 - LEVEL) + stats.norm.ppf(1 - (1 - POWER) / 2)
            plans.append((z * spread / room) ** 2)
    needed = min(plans, default=math.inf)
    return max(1, math.ceil(needed) - c.n) if needed <= _MOST_SEEDS else None
