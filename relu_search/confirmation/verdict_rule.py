"""Statistics of a confirmation: compare arms seed by seed and give a verdict.

Runs are paired by seed: arms trained with the same seed share initial weights, image order, crops,
flips and split. Accuracies, differences and margins are in 0 to 1. The tests and intervals are
those of scipy and statsmodels.

The rule. All comparisons are one family, and each look at it has a level (`looks`). An arm is
*better* (or *worse*) than a reference when the adjusted p of the paired t test is at most the level
and the exact sign-flip p, which assumes no normality, at most 0.05. It is *equivalent* when the
adjusted p of two one-sided t tests against the margin is at most the level. Otherwise the
comparison is *inconclusive*, unless an earlier look has decided it. Where single runs lie far from
the others, more seeds are needed first (`least_seeds`), and p of the t test is that of `skewed_p`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from relu_search.confirmation.looks import FEWEST_SEEDS, Look, Looks, Verdict
from relu_search.confirmation.seeds_plan import more_seeds

Scores = Mapping[int, float]
"""Seed -> accuracy."""
Pair = tuple[str, str]
"""An arm and a reference, by the texts of their placements."""

LEVEL = 0.05
"""The error that a confirmation promises, and the level of a sign-flip test."""
MARGIN = 0.003
"""Default margin of equivalence: 0.3 percentage points."""
ENUMERATED = 20
"""With up to this many pairs all sign flips are enumerated; with more, 99,999 are drawn."""
RESAMPLES = 9_999
OVERWHELMING = 5.0
"""A difference of so many of its standard deviations needs no more than six seeds."""
_FAR = 4.0  # robust standard deviations
_SECOND_MODE, _MISSED = 0.25, 0.005
_ROUNDING = 1e-12


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
        p_t_holm, p_tost_holm: `p_t` (or `skewed_p`) and `p_tost`, adjusted over all comparisons
            (`adjusted`); None with fewer than six seeds, which are never judged.
        look: which look at this comparison it is, from 1; None as above.
        level: what the adjusted p are compared with at this look; None as above.
        least_seeds: seeds that a verdict needs in this confirmation (`least_seeds`).
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
    least = least_seeds(scores, list(levels))
    p_values = {pair: (comparisons[pair].p_t, comparisons[pair].p_tost) for pair in levels}
    if least > FEWEST_SEEDS:
        for arm, versus in levels:
            differences = differences_of(scores[arm], scores[versus])
            p_values[arm, versus] = (skewed_p(differences), p_values[arm, versus][1])
    of_t, of_tost = adjusted(p_values, levels)
    judged = {}
    for pair, c in comparisons.items():
        at_ceiling = are_at_ceiling(c.mean, c.reference_mean, margin)
        verdict: Verdict = "inconclusive"
        if pair in levels:
            verdict = looks.standing(*pair, c.difference, margin)
            is_early = c.n < least
            may_differ = not is_early or abs(c.difference) >= OVERWHELMING * c.spread
            if may_differ and of_t[pair] <= levels[pair] and c.p_sign_flip <= LEVEL:
                verdict = "better" if c.difference > 0 else "worse"
            elif verdict == "inconclusive" and not (is_early or at_ceiling):
                verdict = "equivalent" if of_tost[pair] <= levels[pair] else verdict
        more = None
        if verdict == "inconclusive" and not at_ceiling:
            more = more_seeds(
                c.difference, c.spread, c.n, margin=margin, family=family, least=least
            )
        judged[pair] = Judgement(
            comparison=c,
            p_t_holm=of_t.get(pair),
            p_tost_holm=of_tost.get(pair),
            look=looks.number(*pair, c.n) if pair in levels else None,
            level=levels.get(pair),
            least_seeds=least,
            verdict=verdict,
            more_seeds=more,
        )
    for pair in levels:
        looks.add(Look(*pair, comparisons[pair].n, judged[pair].verdict, margin))
    return judged


def are_at_ceiling(mean: float, reference_mean: float, margin: float) -> bool:
    """Whether both arms make fewer errors than the margin: then easier data hide any difference."""
    return min(mean, reference_mean) > 1 - margin


def least_seeds(scores: Mapping[str, Scores], pairs: Sequence[Pair]) -> int:
    """Seeds that a verdict needs: six, or more where single runs lie far from the others.

    Then the noise may have a second mode, as when one run in four hardly learns. Few seeds can miss
    it in one arm: six seeds with a probability of 0.18. So there must be enough seeds that it is
    missed in some comparison with a probability of at most 0.005. Fewer are enough for a difference
    of five times its spread.
    """
    differences = [differences_of(scores[arm], scores[versus]) for arm, versus in pairs]
    compared = dict.fromkeys(name for pair in pairs for name in pair)
    runs = [np.array([*scores[name].values()]) for name in compared]
    if not (has_far_values(runs) or has_far_values(differences)):
        return FEWEST_SEEDS
    return math.ceil(math.log(_MISSED / len(pairs)) / math.log(1 - _SECOND_MODE))


def differences_of(arm: Scores, versus: Scores) -> NDArray[np.float64]:
    """The differences over the seeds in common, in the order of the seeds."""
    return np.array([arm[seed] - versus[seed] for seed in sorted(arm.keys() & versus.keys())])


def skewed_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of the paired t test, corrected for skewness if that makes it larger.

    Johnson (1978), equation 2.5. When most differences are on one side and a few lie far on the
    other, a mean of few of them is uncertain in the direction of the few. The corrected t falls
    where t is large: the correction is made for small t. From its highest point on, it grows like
    the monotone transformation of Hall (1992), equation 2.2.
    """
    n, mean = len(differences), abs(float(differences.mean()))
    centred = differences - differences.mean()
    variance = float((centred**2).mean())
    if math.sqrt(variance) < _ROUNDING * math.sqrt(n - 1):
        return 1.0 if mean < _ROUNDING else 0.0
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


def has_far_values(groups: Sequence[NDArray[np.float64]]) -> bool:
    """Whether a value lies more than four robust standard deviations from its group's median.

    The robust standard deviation is 1.4826 times the median distance from the median: that of the
    group or that of all groups together, whichever is larger.
    """
    distances = [np.abs(group - np.median(group)) for group in groups]
    if not distances:
        return False
    of_all = np.median(np.concatenate(distances))
    return any((d > _FAR * 1.4826 * max(of_all, np.median(d)) + _ROUNDING).any() for d in distances)


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
    if np.ptp(differences) < _ROUNDING:  # no variance: the interval is a point
        t_low = t_high = bca_low = bca_high = difference
        p_t = 1.0 if abs(difference) < _ROUNDING else 0.0
        p_tost = 1.0
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
        spread=float(differences.std(ddof=1)),
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
