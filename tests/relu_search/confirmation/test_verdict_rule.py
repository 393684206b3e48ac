"""Verdicts against hand-worked cases, brute force, direct library calls and simulation."""

import itertools
import math

import numpy as np
import pytest
from helpers.simulated import by_seed
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from relu_search.confirmation.verdict_rule import (
    Comparison,
    compare,
    hedges_g,
    judge,
    more_seeds,
    sign_flip_p,
)


def sign_flips(differences):
    """All 2**n sums of the differences under flipped signs."""
    sums = np.zeros(1)
    for d in differences:
        sums = np.concatenate([sums + d, sums - d])
    return sums


def exact_sign_flip_p(differences):
    sums = sign_flips(differences)
    return float(np.mean(np.abs(sums) >= abs(np.sum(differences)) - 1e-12))


def holm(p_values):
    """Sort, multiply by the hypotheses left, never decrease, cap at one."""
    m, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        running = max(running, (m - rank) * p_values[i])
        adjusted[i] = min(1.0, running)
    return adjusted


# --- by hand ----------------------------------------------------------------------------------


def test_two_pairs_worked_by_hand():
    """Differences 0.1 and 0.2: mean 0.15, standard error 0.05, so t = 3 with one degree."""
    c = compare({1: 0.6, 2: 0.8}, {2: 0.6, 1: 0.5}, margin=0.05)
    half = math.tan(0.475 * math.pi) * 0.05
    assert c.n == 2
    assert c.mean == pytest.approx(0.7)
    assert c.std == pytest.approx(math.sqrt(0.02))
    assert c.reference_mean == pytest.approx(0.55)
    assert c.difference == pytest.approx(0.15)
    assert (c.t_low, c.t_high) == pytest.approx((0.15 - half, 0.15 + half))
    assert c.p_t == pytest.approx(1 - 2 / math.pi * math.atan(3))
    assert c.p_sign_flip == pytest.approx(2 / 4)
    assert c.hedges_g == pytest.approx(0.15 / math.sqrt((0.02 + 0.005) / 2) * 4 / 7)
    assert c.p_superior == pytest.approx(3.5 / 4)  # 0.6 ties with 0.6
    assert c.p_tost == pytest.approx(0.5 + math.atan(2) / math.pi)  # (0.15 - 0.05) / 0.05


def test_three_pairs_worked_by_hand():
    """Differences 0.01, 0.02, 0.06: mean 0.03, variance 0.0007; with two degrees p is closed."""
    c = compare(by_seed([0.51, 0.53, 0.57]), by_seed([0.50, 0.51, 0.51]), margin=0.003)
    error = math.sqrt(0.0007 / 3)
    t, quantile = 0.03 / error, 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert c.p_t == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (c.t_low, c.t_high) == pytest.approx((0.03 - quantile * error, 0.03 + quantile * error))
    assert c.p_sign_flip == pytest.approx(2 / 8)
    upper = 0.027 / error
    assert c.p_tost == pytest.approx(0.5 + upper / math.sqrt(2 + upper**2) / 2)
    variances = (0.0028 / 3, 0.0001 / 3)  # of 0.51, 0.53, 0.57 and of 0.50, 0.51, 0.51
    assert c.hedges_g == pytest.approx(0.03 / math.sqrt(sum(variances) / 2) * (1 - 3 / 15))
    assert c.p_superior == pytest.approx((1 + 2 * 0.5 + 3 + 3) / 9)
    assert -0.01 <= c.bca_low <= c.difference <= c.bca_high <= 0.06


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2], 0.5),
        ([1, -1], 1.0),
        ([0, 0, 3], 1.0),
        ([1, 1, 1, 1], 2 / 16),
        ([1, 1, 1, -1], 10 / 16),  # sums of 2 and more: 1 + 4 of 16 on each side
        ([5, 4, 3, 2, -1], 6 / 32),  # above 13: all plus; minus the 1; 15 - 2 * 1 = 13 itself
        ([1, 2, 3, 4, 5, 6], 2 / 64),
    ],
)
def test_sign_flip_p_by_hand(differences, p):
    expected = exact_sign_flip_p(differences)
    if differences != [5, 4, 3, 2, -1]:
        assert expected == p
    assert sign_flip_p(differences) == pytest.approx(expected)


@pytest.mark.parametrize("with_ties", [True, False])
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_sign_flip_p_is_the_enumeration(n, with_ties):
    rng = np.random.default_rng(n)
    differences = rng.integers(-3, 6, n) / 100 if with_ties else rng.normal(0.5, 1, n)
    signs = itertools.product((1, -1), repeat=n)
    observed = abs(sum(differences))
    count = sum(abs(sum(s * differences)) >= observed - 1e-12 for s in map(np.array, signs))
    assert sign_flip_p(differences) == pytest.approx(count / 2**n)
    assert sign_flip_p(-differences) == pytest.approx(count / 2**n)


def test_sign_flip_p_is_exact_when_enumerated_and_close_when_drawn():
    rng = np.random.default_rng(5)
    differences = rng.normal(0.4, 1, 22)
    for n in (12, 17):
        assert sign_flip_p(differences[:n]) == pytest.approx(
            exact_sign_flip_p(differences[:n]), abs=1e-9
        )
    exact = exact_sign_flip_p(differences)
    error = math.sqrt(exact * (1 - exact) / 99_999)
    assert abs(sign_flip_p(differences) - exact) < 5 * error
    assert sign_flip_p(differences) == sign_flip_p(differences)


def test_sign_flip_p_counts_sums_that_tie_but_for_rounding():
    assert sign_flip_p([0.006, 0.003, 0.001, -0.002, -0.002, -0.006]) == 1  # their sum is 0


# --- against the libraries --------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 6, 15])
def test_figures_are_those_of_direct_library_calls(n):
    rng = np.random.default_rng([n, 0])
    shared = rng.normal(0.8, 0.02, n)
    a, b = (np.round((shared + rng.normal(m, 0.01, n)) * 1024) / 1024 for m in (0.004, 0))
    extra = {999: 0.1}  # seeds that only one has do not count
    c = compare(by_seed(a) | extra, by_seed(b) | {998: 0.9}, margin=0.01)
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(0.95)
    boot = stats.bootstrap(
        (a - b,),
        np.mean,
        n_resamples=9_999,
        confidence_level=0.95,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert c.n == n
    assert c.mean == pytest.approx(np.mean(a))
    assert c.std == pytest.approx(np.std(a, ddof=1))
    assert c.reference_mean == pytest.approx(np.mean(b))
    assert c.difference == pytest.approx(np.mean(a) - np.mean(b))
    assert (c.t_low, c.t_high) == pytest.approx((interval.low, interval.high))
    assert (c.bca_low, c.bca_high) == pytest.approx((boot.low, boot.high))
    assert c.p_t == pytest.approx(test.pvalue)
    assert c.p_tost == pytest.approx(ttost_paired(a, b, -0.01, 0.01)[0])
    assert c.p_sign_flip == pytest.approx(exact_sign_flip_p(a - b))
    m = 2 * n - 2
    pooled = math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    assert c.hedges_g == pytest.approx((1 - 3 / (4 * m - 1)) * (np.mean(a) - np.mean(b)) / pooled)
    wins = sum((x > y) + 0.5 * (x == y) for x in a for y in b)
    assert c.p_superior == pytest.approx(wins / n**2)


@pytest.mark.parametrize("seed", range(2))
def test_judge_adjusts_over_the_arms_by_holm(seed):
    rng = np.random.default_rng(seed)
    reference = rng.normal(0.8, 0.01, 8)
    arms = {f"arm{i}": reference + rng.normal(0.006 * i, 0.01, 8) for i in range(5)}
    judged = judge(
        {k: by_seed(v) for k, v in arms.items()} | {"one seed": {0: 0.9}},
        by_seed(reference),
        resamples=99,
    )
    assert list(judged) == list(arms), "an arm with one seed in common is left out"
    expected = holm([float(stats.ttest_rel(v, reference).pvalue) for v in arms.values()])
    assert [j.p_t_holm for j in judged.values()] == pytest.approx(expected)


def test_seeds_are_paired_whatever_their_order():
    a, b = [0.5, 0.7, 0.65, 0.8], [0.45, 0.66, 0.63, 0.71]
    forward = compare(by_seed(a), by_seed(b))
    backward = dict(reversed(by_seed(b).items()))
    assert compare(by_seed(a), backward) == forward


@pytest.mark.parametrize(
    ("arm", "reference"), [({}, {}), ({1: 0.5}, {1: 0.4}), ({1: 0.5, 2: 0.5}, {2: 0.5, 3: 0.5})]
)
def test_one_seed_in_common_is_no_comparison(arm, reference):
    with pytest.raises(ValueError, match="needs two seeds in common"):
        compare(arm, reference)
    assert judge({"arm": arm}, reference) == {}


# --- no spread --------------------------------------------------------------------------------


def test_equal_runs_are_equivalent():
    same = by_seed([0.5, 0.6, 0.7])
    judged = judge({"twin": same}, same)["twin"]
    c = judged.comparison
    assert (c.difference, c.t_low, c.t_high, c.bca_low, c.bca_high) == (0, 0, 0, 0, 0)
    assert (c.p_t, c.p_sign_flip, c.hedges_g, c.p_superior, c.p_tost) == (1, 1, 0, 0.5, 0)
    assert (judged.verdict, judged.more_seeds) == ("equivalent", None)


@pytest.mark.parametrize(("n", "verdict"), [(3, "inconclusive"), (6, "better")])
def test_a_constant_lead_counts_from_six_seeds(n, verdict):
    reference = by_seed(np.linspace(0.5, 0.6, n))
    judged = judge({"arm": {s: v + 0.125 for s, v in reference.items()}}, reference)["arm"]
    c = judged.comparison
    assert (c.t_low, c.bca_low) == pytest.approx((0.125, 0.125))
    assert (c.t_high, c.bca_high) == pytest.approx((0.125, 0.125))
    assert (c.p_t, c.p_tost) == (0, 1)
    assert c.p_sign_flip == pytest.approx(2 / 2**n)
    assert judged.verdict == verdict
    assert judged.more_seeds == (None if n == 6 else 7 - n)


def test_hedges_g_without_spread_is_infinite():
    half, quarter = np.full(4, 0.5), np.full(4, 0.25)
    assert hedges_g(half, quarter) == math.inf
    assert hedges_g(quarter, half) == -math.inf
    assert hedges_g(half, half) == 0


def test_hedges_g_without_spread_is_infinite_for_rounded_accuracies():
    assert hedges_g(np.full(3, 0.5), np.full(3, 0.4)) == math.inf


# --- verdict words ----------------------------------------------------------------------------

STEADY = [0.010, 0.012, 0.009, 0.011, 0.013, 0.010]


def judged_differences(*columns, **options):
    base = np.linspace(0.5, 0.6, len(columns[0]))
    arms = {f"arm{i}": by_seed(base + np.array(d)) for i, d in enumerate(columns)}
    return list(judge(arms, by_seed(base), resamples=99, **options).values())


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (STEADY, "better"),
        ([-d for d in STEADY], "worse"),
        (STEADY[:5], "inconclusive"),  # five pairs cannot have a sign-flip p below 0.0625
        ([0.001, -0.001, 0.0005, 0, -0.0005, 0.0002], "equivalent"),
        ([0.03, -0.02, 0.01, 0.04, -0.03, 0.02], "inconclusive"),
        ([0.0010, 0.0012, 0.0009, 0.0011, 0.0013, 0.0010], "better"),  # within the margin too
        ([*STEADY[:5], -0.001], "inconclusive"),
        ([0.01] * 9 + [0.2], "inconclusive"),  # t 0.16, sign-flip 0.002: both must agree
    ],
)
def test_verdict_words(differences, verdict):
    (judged,) = judged_differences(differences)
    if differences == [*STEADY[:5], -0.001]:  # t 0.009, sign-flip 4 / 64
        assert stats.ttest_1samp(differences, 0).pvalue < 0.05 < exact_sign_flip_p(differences)
    assert judged.verdict == verdict
    assert (judged.more_seeds is not None) == (verdict == "inconclusive")


def test_more_arms_ask_for_stronger_evidence():
    weak = [0.004, 0.016, 0.002, 0.019, 0.001, 0.009]  # p of t is 0.03
    assert 0.0125 < stats.ttest_1samp(weak, 0).pvalue < 0.05
    null = [0.01, -0.012, 0.02, -0.02, 0.006, -0.005]
    assert judged_differences(weak)[0].verdict == "better"
    assert judged_differences(weak, null, null[::-1], null)[0].verdict == "inconclusive"


def test_the_margin_decides_equivalence_alone():
    differences = [0.001, -0.001, 0.0005, 0, -0.0005, 0.0002]
    verdicts = [judged_differences(differences, margin=m)[0].verdict for m in (0.01, 0.0001)]
    assert verdicts == ["equivalent", "inconclusive"]


# --- more seeds -------------------------------------------------------------------------------


def comparison(difference, spread, n):
    half = float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    unused = {"mean", "std", "reference_mean", "bca_low", "bca_high", "p_t", "p_sign_flip"}
    unused |= {"hedges_g", "p_superior", "p_tost"}
    filler = dict.fromkeys(unused, 0.5)
    return Comparison(
        n=n, difference=difference, t_low=difference - half, t_high=difference + half, **filler
    )


@pytest.mark.parametrize(("arms", "n"), [(1, 2), (3, 6), (5, 10)])
def test_a_clearer_effect_needs_fewer_seeds(arms, n):
    needs = [
        more_seeds(comparison(effect * 0.01, 0.01, n), margin=0, arms=arms)
        for effect in (0.0, 0.01, 0.08, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5)
    ]
    assert needs[:3] == [None, None, None]
    numbers = [math.inf if k is None else k for k in needs]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == max(1, 7 - n)


def test_more_seeds_is_symmetric_and_grows_with_the_arms():
    plus, minus = (
        more_seeds(comparison(d, 0.01, 6), margin=0.003, arms=3) for d in (0.007, -0.007)
    )
    assert plus == minus
    needs = [more_seeds(comparison(0.007, 0.01, 6), margin=0, arms=k) for k in (1, 2, 5, 10)]
    assert needs == sorted(set(needs))


def confirmed(differences, arms=1):
    """Rows of differences that pass the t test at Bonferroni's level, Holm's first step."""
    n = differences.shape[1]
    t = differences.mean(1) / differences.std(1, ddof=1) * math.sqrt(n)
    return 2 * stats.t.sf(np.abs(t), n - 1) <= 0.05 / arms


@pytest.mark.parametrize(("effect", "arms"), [(0.3, 1), (0.8, 1), (0.5, 5), (1.2, 5)])
def test_the_promised_seeds_have_a_power_of_about_0_8(effect, arms):
    n = 6 + more_seeds(comparison(effect * 0.01, 0.01, 6), margin=0, arms=arms)
    rng = np.random.default_rng([int(effect * 10), arms])
    differences = rng.normal(effect, 1, (4000, n))
    power = confirmed(differences, arms).mean()
    assert 0.78 <= power <= 0.88  # standard error 0.006; whole seeds round up


def test_the_promised_seeds_show_equivalence_with_a_power_of_about_0_8():
    for spread in (0.004, 0.008):
        n = 6 + more_seeds(comparison(0.0, spread, 6), margin=0.003, arms=1)
        rng = np.random.default_rng(int(spread * 1000))
        differences = rng.normal(0, spread, (4000, n))
        error = differences.std(1, ddof=1) / math.sqrt(n)
        far = (0.003 - np.abs(differences.mean(1))) / error
        power = (stats.t.sf(far, n - 1) <= 0.05).mean()
        assert 0.75 <= power <= 0.85


def test_a_large_difference_over_few_seeds_is_judged_without_a_warning():
    reference = {1: 0.50, 2: 0.50, 3: 0.50}
    (judged,) = judge({"2:1": {1: 0.55, 2: 0.56, 3: 0.57}}, reference).values()
    assert (judged.verdict, judged.more_seeds) == ("inconclusive", 4)


def test_a_small_effect_within_a_thousand_seeds_gets_its_number():
    noise = np.random.default_rng(0).normal(size=10)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    reference = dict.fromkeys(range(10), 0.5)
    arm = {seed: 0.5 + 0.01 * (0.093 + noise[seed]) for seed in range(10)}
    # 950 pairs: the t distribution is normal there
    assert stats.norm.sf(stats.norm.isf(0.025) - 0.093 * 950**0.5) > 0.8
    (judged,) = judge({"2:1": arm}, reference, margin=1e-4).values()
    assert judged.verdict == "inconclusive"
    assert judged.more_seeds is not None
