"""Statistics of a confirmation: compare arms seed by seed and give a verdict.

Runs are paired by seed: arms trained with the same seed share initial weights, image order, crops,
flips and split. Accuracies, differences and margins are in 0 to 1. The tests and intervals are
those of scipy and statsmodels.

The rule. All comparisons are one family, and each look at it has a level (`looks`). An arm is
*better* (or *worse*) than a reference when the adjusted p of the paired t test is at most the level
and the exact sign-flip p, which assumes no normality, at most 0.05. It is *equivalent* when the
adjusted p of two one-sided t tests against the margin is at most the level. Otherwise the
comparison is *inconclusive*, unless an earlier look has decided it. Where single runs lie far from
the others, a difference must exceed what few seeds may miss (`far_runs`), and p of the t test is
that of `skewed_p`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from relu_search.confirmation.looks import Look, Looks, Verdict
from relu_search.confirmation.seeds_plan import more_seeds
from relu_search.statistics.far_runs import far_runs
from relu_search.statistics.paired_tests import (
    FEWEST_SEEDS,
    ROUNDING,
    Scores,
    differences_of,
    hedges_g,
    plain_p,
    sign_flip_p,
)

Pair = tuple[str, str]
"""An arm and a reference, by the texts of their placements."""

LEVEL = 0.05
"""The error that a confirmation promises, and the level of a sign-flip test."""
MARGIN = 0.003
"""Default margin of equivalence: 0.3 percentage points."""
RESAMPLES = 9_999


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against a reference, over the seeds they have in common.

    Attributes:
        n: number of seeds in common.
        mean, std: of the arm over these seeds (std with ddof = 1).
        reference_mean: of the reference over these seeds.
        difference: mean of arm minus reference.
        spread: std of the differences (ddof = 1).
        t_low, t_high: 95 % confidence interval of the difference by Student's t.
        bca_low, bca_high: 95 % interval by the BCa bootstrap (Efron 1987).
        p_t: two-sided paired t test.
        p_sign_flip: two-sided sign-flip test of the mean difference, exact to n = 20.
        hedges_g: standardised difference by the pooled std of both arms, times the small-sample
            factor 1 - 3 / (4m - 1) with m = 2n - 2 (Hedges 1981, eq. 6e).
        p_superior: P(A > B), the share of all n * n pairs of runs in which the arm is better; a
            tie counts half.
        p_tost: two one-sided paired t tests against the margin; 1 when the differences do not vary:
            then both arms are saturated, or neither has learnt anything.
    """

    n: int
    mean: float
    std: float
    reference_mean: float
    difference: float
    spread: float
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
        p_t_holm, p_tost_holm: `FarRuns.p` and `p_tost`, adjusted over all comparisons
            (`adjusted`); None with fewer than six seeds, which are never judged.
        look: which look at this comparison it is, from 1; None as above.
        level: what the adjusted p are compared with at this look; None as above.
        least_seeds: seeds before which nothing is equivalent here (`FarRuns.least_seeds`).
        more_seeds: for *inconclusive*: about how many more seeds are needed to show the observed
            difference, or equivalence, with a power of 0.8; None: more than 1,000, or the verdict
            is not *inconclusive*, or both arms are at the ceiling (`are_at_ceiling`).
    """

    comparison: Comparison
    p_t_holm: float | None
    p_tost_holm: float | None
    look: int | None
    level: float | None
    least_seeds: int
    verdict: Verdict
    more_seeds: int | None


def judge(
    scores: Mapping[str, Scores],
    pairs: Sequence[Pair],
    *,
    looks: Looks | None = None,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
) -> dict[Pair, Judgement]:
    """Compare pairs of arms as one family, and record the look.

    ```python
    scores = {"01*3": {1: 0.92, 2: 0.91}, "1*6": {1: 0.90, 2: 0.88}}
    judge(scores, [("01*3", "1*6")])["01*3", "1*6"].verdict   # "inconclusive": too few seeds
    ```

    Args:
        scores: placement -> its accuracies.
        pairs: all pairs that can be reported. Those with fewer than two seeds in common are left
            out.
        looks: the earlier looks; this one is added. None: this is the first.
        margin: of equivalence.
        resamples: of the bootstrap.
    """
    looks = Looks() if looks is None else looks
    comparisons = {
        (arm, versus): compare(scores[arm], scores[versus], margin=margin, resamples=resamples)
        for arm, versus in pairs
        if len(scores[arm].keys() & scores[versus].keys()) >= 2
    }
    levels = {
        pair: looks.level(*pair, c.n) for pair, c in comparisons.items() if c.n >= FEWEST_SEEDS
    }
    family = max(1, len(levels))
    far = far_runs(scores, list(levels))
    p_values = {
        (arm, versus): (
            far.p(differences_of(scores[arm], scores[versus])),
            comparisons[arm, versus].p_tost,
        )
        for arm, versus in levels
    }
    of_t, of_tost = adjusted(p_values, levels)
    judged = {}
    for pair, c in comparisons.items():
        at_ceiling = are_at_ceiling(c.mean, c.reference_mean, margin)
        verdict: Verdict = "inconclusive"
        if pair in levels:
            verdict = looks.standing(*pair, c.difference, margin)
            if of_t[pair] <= levels[pair] and c.p_sign_flip <= LEVEL:
                verdict = "better" if c.difference > 0 else "worse"
            elif verdict == "inconclusive" and not (c.n < far.least_seeds or at_ceiling):
                verdict = "equivalent" if of_tost[pair] <= levels[pair] else verdict
        more = None
        if verdict == "inconclusive" and not at_ceiling:
            more = more_seeds(c.difference, c.spread, c.n, margin=margin, family=family, far=far)
        judged[pair] = Judgement(
            comparison=c,
            p_t_holm=of_t.get(pair),
            p_tost_holm=of_tost.get(pair),
            look=looks.number(*pair, c.n) if pair in levels else None,
            level=levels.get(pair),
            least_seeds=far.least_seeds,
            verdict=verdict,
            more_seeds=more,
        )
    for pair in levels:
        looks.add(Look(*pair, comparisons[pair].n, judged[pair].verdict, margin))
    return judged


def are_at_ceiling(mean: float, reference_mean: float, margin: float) -> bool:
    """Whether both arms make fewer errors than the margin: then easier data hide any difference."""
    return min(mean, reference_mean) > 1 - margin


def adjusted(
    p_values: Mapping[Pair, tuple[float, float]], levels: Mapping[Pair, float]
) -> tuple[dict[Pair, float], dict[Pair, float]]:
    """p of the t tests and p of TOST, adjusted together by Holm's procedure.

    Holm multiplies a p by the number of null hypotheses that can still be true. The two of one pair
    cannot both be true: a difference of zero is within the margin. So the factor counts every pair
    once, as long as one of its two is not rejected (Shaffer 1986, procedure S1).

    Args:
        p_values: pair -> p of the t test, p of TOST.
        levels: pair -> what its adjusted p will be compared with; smaller p per level come first.
    """
    order = sorted(
        (p / levels[pair], pair, kind)
        for pair, both in p_values.items()
        for kind, p in enumerate(both)
    )
    left = dict.fromkeys(p_values, 2)  # null hypotheses that are not rejected
    found: tuple[dict[Pair, float], dict[Pair, float]] = ({}, {})
    ratio = 0.0
    for own, pair, kind in order:
        ratio = max(ratio, own * len(left))
        found[kind][pair] = min(1.0, ratio * levels[pair])
        left[pair] -= 1
        if not left[pair]:
            del left[pair]
    return found


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
    if np.ptp(differences) < ROUNDING:  # no variance: the interval is a point
        t_low = t_high = bca_low = bca_high = difference
        p_tost = 1.0
    else:
        interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - LEVEL)
        t_low, t_high = map(float, interval)
        bca_low, bca_high = _bca_interval(differences, resamples)
        p_tost = float(ttost_paired(a, b, -margin, margin)[0])
    return Comparison(
        n=n,
        mean=float(a.mean()),
        std=float(a.std(ddof=1)),
        reference_mean=float(b.mean()),
        difference=difference,
        spread=float(differences.std(ddof=1)),
        t_low=t_low,
        t_high=t_high,
        bca_low=bca_low,
        bca_high=bca_high,
        p_t=plain_p(differences),
        p_sign_flip=sign_flip_p(differences),
        hedges_g=hedges_g(a, b),
        p_superior=float(stats.mannwhitneyu(a, b).statistic) / n**2,
        p_tost=p_tost,
    )


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
