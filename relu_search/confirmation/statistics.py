"""From accuracies of paired runs to a verdict. Numbers by scipy and statsmodels.

Runs are paired by seed: arms trained with one seed share initial weights, image order, crops, flips
and split. Accuracies, differences and margins are in 0 to 1.

The rule. An arm is *better* (or *worse*) than a reference when the Holm-adjusted p of the paired t
test and the exact sign-flip p, which assumes no normality, are both at most 0.05. It is
*equivalent* when two one-sided t tests place the difference within the margin (p at most 0.05).
Else the comparison is *inconclusive*.
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
"""Up to so many pairs all sign flips are enumerated; beyond, 99,999 are drawn."""
RESAMPLES = 9_999
FIRST_RACE = 3
"""Seeds that every arm gets before the race may drop one."""
_MOST_SEEDS = 1_000
_FEWEST_SEEDS = 7  # with six the sign-flip test asks all six runs to agree
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against a reference, over the seeds that both have.

    Attributes:
        n: seeds in common.
        mean, std: of the arm (ddof = 1), over these seeds.
        reference_mean: of the reference.
        difference: mean of arm minus reference.
        t_low, t_high: 95 % interval of the difference by Student's t.
        bca_low, bca_high: the same by the BCa bootstrap (Efron 1987).
        p_t: two-sided paired t test.
        p_sign_flip: two-sided sign-flip test of the mean difference, exact to n = 20.
        hedges_g: standardised difference by the pooled std of both arms, times the small-sample
            factor 1 - 3 / (4m - 1) with m = 2n - 2 (Hedges 1981, eq. 6e).
        p_superior: P(A > B), the share of all n * n pairs of runs in which the arm is ahead, ties
            half.
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
    """A comparison with its verdict among all arms that were held against one reference.

    Attributes:
        p_t_holm: `p_t`, adjusted over these arms by Holm's procedure.
        more_seeds: for *inconclusive*: about so many more seeds show the difference seen, or
            equivalence, with a power of 0.8; None: more than 1,000, or the verdict is reached.
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
    """Hold every arm against one reference; Holm over the arms.

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
    """All figures of one comparison.

    Raises:
        ValueError: fewer than two seeds in common.
    """
    seeds = sorted(arm.keys() & reference.keys())
    if len(seeds) < 2:
        raise ValueError(f"a comparison needs two seeds in common, got {len(seeds)}")
    a = np.array([arm[seed] for seed in seeds])
    b = np.array([reference[seed] for seed in seeds])
    differences, n = a - b, len(seeds)
    difference = float(differences.mean())
    if np.ptp(differences) < _ROUNDING:  # no spread: the interval is a point
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
    """Two-sided p of the mean difference when all signs are equally likely.

    With n pairs it cannot be below 2 / 2**n: six pairs are the fewest that can reach 0.05.
    """
    values = np.asarray(differences, dtype=np.float64)
    exact = len(values) <= ENUMERATED
    test = stats.permutation_test(
        (values,),
        lambda x, axis: np.round(x.sum(axis=axis), 10),  # sums tie also where rounding differs
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**ENUMERATED if exact else 99_999,
        batch=65_536,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Standardised mean difference of two arms of equal size; infinite without any spread."""
    pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    difference = float(a.mean() - b.mean())
    if max(np.ptp(a), np.ptp(b)) < _ROUNDING:
        return math.copysign(math.inf, difference) if abs(difference) >= _ROUNDING else 0.0
    freedom = 2 * len(a) - 2
    return difference / pooled * (1 - 3 / (4 * freedom - 1))


def losers(
    arms: Mapping[str, Scores], *, protected: frozenset[str], planned_seeds: int
) -> dict[str, float]:
    """Arms that can no longer win, each with the upper bound of its lag behind the leader.

    The sequential rule: after every seed from the third on, an arm is out when the one-sided upper
    t bound of its paired difference from the leading arm is below zero, at level 0.05 divided by
    the number of challengers times the number of looks (Bonferroni), so that the best arm is lost
    in at most 5 % of confirmations.

    Args:
        arms: that still race, with their scores so far.
        protected: never dropped: the references that others are held against.
        planned_seeds: of the whole confirmation, which fixes the number of looks.
    """
    looks = max(1, planned_seeds - FIRST_RACE)
    shared = set.intersection(*(set(scores) for scores in arms.values())) if arms else set()
    if len(shared) < FIRST_RACE or len(arms) < 2:
        return {}
    values = {name: np.array([s[seed] for seed in sorted(shared)]) for name, s in arms.items()}
    leader = max(values, key=lambda name: float(values[name].mean()))
    quantile = stats.t.ppf(1 - LEVEL / ((len(arms) - 1) * looks), len(shared) - 1)
    out: dict[str, float] = {}
    for name in values.keys() - protected - {leader}:
        differences = values[name] - values[leader]
        error = differences.std(ddof=1) / math.sqrt(len(shared))
        bound = float(differences.mean() + quantile * error)
        if error > 0 and bound < 0:
            out[name] = bound
    return out


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
    """About how many more seeds end an inconclusive comparison, if its estimates are right.

    The smaller of two plans, each with a power of 0.8: to show the difference seen, at level 0.05
    over the number of arms; to show equivalence, where the difference seen is within the margin.
    """
    c = comparison
    half_width = c.t_high - c.difference
    spread = half_width / float(stats.t.ppf(1 - LEVEL / 2, c.n - 1)) * math.sqrt(c.n)
    plans = [float(_FEWEST_SEEDS)]
    if spread > 0:
        plans = []
        if c.difference:
            effect = min(abs(c.difference) / spread, 2.0)  # beyond, fewer than the fewest
            # Far below this effect more than 1,000 seeds are needed, and the solver has no root.
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
