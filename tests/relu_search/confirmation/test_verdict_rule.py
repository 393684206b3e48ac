"""Verdicts against hand-worked cases, brute force, direct library calls and simulation."""

import itertools
import math

import numpy as np
import pytest
from helpers.simulated import by_seed, exact_sign_flip_p, judged_against
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from relu_search.confirmation.looks import Looks, level_of
from relu_search.confirmation.verdict_rule import adjusted, compare


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


def rejected_by_closed_testing(p_values, level):
    """Every (pair, kind) of which each possible set of true nulls with it has a p small enough.

    A pair has at most one true null: that of the t test (0), or that of TOST (1).
    """
    pairs = list(p_values)
    possible = [
        [(pair, kind) for pair, kind in zip(pairs, kinds, strict=True) if kind is not None]
        for kinds in itertools.product((0, 1, None), repeat=len(pairs))
    ]
    small = [
        nulls
        for nulls in possible
        if nulls and min(p_values[pair][kind] for pair, kind in nulls) > level / len(nulls)
    ]
    everything = {(pair, kind) for pair in pairs for kind in (0, 1)}
    return everything - {null for nulls in small for null in nulls}


@pytest.mark.parametrize("seed", range(30))
def test_the_adjusted_p_reject_what_bonferroni_does_and_nothing_that_closed_testing_does_not(seed):
    rng = np.random.default_rng(seed)
    pairs = [(str(i), "r") for i in range(4)]
    p_values = {pair: tuple(rng.uniform(0, 0.05, 2)) for pair in pairs}
    level = 0.04
    found = adjusted(p_values, dict.fromkeys(pairs, level))
    ours = {(pair, kind) for kind in (0, 1) for pair in pairs if found[kind][pair] <= level}
    bonferroni = {
        (pair, kind) for pair in pairs for kind in (0, 1) if 4 * p_values[pair][kind] <= level
    }
    assert bonferroni <= ours <= rejected_by_closed_testing(p_values, level)


def test_a_pair_of_which_both_are_rejected_counts_no_more():
    """Four nulls of two pairs: times 2, until both of the first pair are rejected, then times 1."""
    a, b = ("a", "r"), ("b", "r")
    of_t, of_tost = adjusted({a: (0.01, 0.015), b: (0.03, 0.9)}, {a: 0.04, b: 0.04})
    assert (of_t[a], of_tost[a]) == pytest.approx((0.02, 0.03))
    assert (of_t[b], of_tost[b]) == pytest.approx((0.03, 0.9))


def test_p_are_compared_with_the_level_of_their_own_look():
    """At a fifth of the level, a p counts five times."""
    a, b = ("a", "r"), ("b", "r")
    of_t, _ = adjusted({a: (0.01, 1), b: (0.004, 1)}, {a: 0.04, b: 0.008})
    assert of_t[a] == pytest.approx(0.02)
    assert of_t[b] == pytest.approx(0.008)


def test_arms_with_one_seed_in_common_are_left_out():
    rng = np.random.default_rng(0)
    reference, arm = rng.normal(0.8, 0.01, (2, 8))
    arms = {"arm": by_seed(arm), "one seed": {0: 0.9}}
    assert list(judged_against(arms, by_seed(reference), resamples=99)) == ["arm"]


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
    assert judged_against({"arm": arm}, reference) == {}


# --- no spread --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 6, 12])
def test_runs_without_any_difference_show_no_equivalence(n):
    """They are saturated, or nothing was learnt."""
    same = by_seed(np.linspace(0.5, 0.6, n))
    judged = judged_against({"twin": same}, same)["twin"]
    c = judged.comparison
    assert (c.difference, c.t_low, c.t_high, c.bca_low, c.bca_high) == (0, 0, 0, 0, 0)
    assert (c.p_t, c.p_sign_flip, c.hedges_g, c.p_superior, c.p_tost) == (1, 1, 0, 0.5, 1)
    assert (judged.verdict, judged.more_seeds) == ("inconclusive", None)


@pytest.mark.parametrize(("n", "verdict"), [(3, "inconclusive"), (6, "better")])
def test_a_constant_lead_counts_from_six_seeds(n, verdict):
    reference = by_seed(np.linspace(0.5, 0.6, n))
    arms = {"arm": {s: v + 0.125 for s, v in reference.items()}}
    judged = judged_against(arms, reference)["arm"]
    c = judged.comparison
    assert (c.t_low, c.bca_low) == pytest.approx((0.125, 0.125))
    assert (c.t_high, c.bca_high) == pytest.approx((0.125, 0.125))
    assert (c.p_t, c.p_tost) == (0, 1)
    assert c.p_sign_flip == pytest.approx(2 / 2**n)
    assert judged.verdict == verdict
    assert judged.more_seeds == (None if n == 6 else 7 - n)


STEADY = [0.010, 0.012, 0.009, 0.011, 0.013, 0.010]
NEAR = [0.0004, -0.0004, 0.0002, 0, -0.0002, 0.0001]


def judged_differences(*columns, **options):
    base = np.linspace(0.5, 0.6, len(columns[0]))
    arms = {f"arm{i}": by_seed(base + np.array(d)) for i, d in enumerate(columns)}
    return list(judged_against(arms, by_seed(base), resamples=99, **options).values())


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (STEADY, "better"),
        ([-d for d in STEADY], "worse"),
        (STEADY[:5], "inconclusive"),  # five pairs cannot have a sign-flip p below 0.0625
        (NEAR, "equivalent"),
        (NEAR[:5], "inconclusive"),
        ([0.03, -0.02, 0.01, 0.04, -0.03, 0.02], "inconclusive"),
        ([0.0010, 0.0012, 0.0009, 0.0011, 0.0013, 0.0010], "better"),  # within the margin too
        ([*STEADY[:5], -0.001], "inconclusive"),
        ([0.01] * 9 + [0.2], "inconclusive"),  # t 0.16, sign-flip 0.002: both must agree
    ],
)
def test_verdict_words(differences, verdict):
    (judged,) = judged_differences(differences)
    if differences == [*STEADY[:5], -0.001]:  # t 0.009, sign-flip 4 / 64
        assert stats.ttest_1samp(differences, 0).pvalue < 0.02
        assert exact_sign_flip_p(differences) > 0.05
    assert judged.verdict == verdict
    assert (judged.more_seeds is not None) == (verdict == "inconclusive")


def test_more_arms_ask_for_stronger_evidence():
    weak = [0.006, 0.014, 0.004, 0.017, 0.003, 0.009]
    assert 0.04 / 2 / 4 < stats.ttest_1samp(weak, 0).pvalue < 0.04 / 2
    null = [0.01, -0.012, 0.02, -0.02, 0.006, -0.005]
    assert judged_differences(weak)[0].verdict == "better"
    assert judged_differences(weak, null, null[::-1], null)[0].verdict == "inconclusive"


def test_the_margin_decides_equivalence_alone():
    verdicts = [judged_differences(NEAR, margin=m)[0].verdict for m in (0.01, 0.0001)]
    assert verdicts == ["equivalent", "inconclusive"]


@pytest.mark.parametrize(("level", "verdict"), [(0.5, "equivalent"), (0.9999, "inconclusive")])
def test_at_the_ceiling_nothing_is_equivalent(level, verdict):
    arm = {seed: level + d / 10 for seed, d in enumerate(NEAR)}
    (judged,) = judged_against({"arm": arm}, dict.fromkeys(range(6), level)).values()
    assert judged.verdict == verdict
    assert judged.more_seeds is None


# --- looks ------------------------------------------------------------------------------------


def test_the_levels_of_any_looks_add_up_to_less_than_the_error():
    assert level_of(6, None) == pytest.approx(0.02)
    assert level_of(12, 6) == pytest.approx(0.01)
    for looks in ([6], [60], range(6, 1001), [6, 7, 200], [10, 20, 40, 80]):
        levels = [level_of(n, m) for m, n in zip([None, *looks], looks, strict=False)]
        assert sum(levels) < 0.04
        assert min(levels) > 0


def look(looks, differences, n, reverse=False):
    base = np.full(n, 0.5)
    scores = {"arm": by_seed(base + np.array(differences[:n])), "reference": by_seed(base)}
    pair = ("reference", "arm") if reverse else ("arm", "reference")
    from relu_search.confirmation.verdict_rule import judge

    return judge(scores, [pair], looks=looks, resamples=99)[pair]


def test_a_look_after_another_has_what_is_left_of_the_error():
    """t p 0.015 at eight seeds: enough at a first look, and not after one at six."""
    values = np.array([0.013, 0.001, 0.012, -0.002, 0.010, 0.004, 0.009, 0.006])
    p = stats.ttest_1samp(values, 0).pvalue
    assert level_of(8, 6) < p < level_of(8, None)
    assert look(Looks(), values, 8).verdict == "better"
    looks = Looks()
    assert look(looks, values, 6).verdict == "inconclusive"
    later = look(looks, values, 8)
    assert (later.verdict, later.look, later.level) == ("inconclusive", 2, level_of(8, 6))


def test_a_look_without_new_seeds_changes_nothing():
    looks = Looks()
    first = look(looks, STEADY, 6)
    assert look(looks, STEADY, 6) == first
    assert look(looks, STEADY, 6, reverse=True).verdict == "worse"


def test_a_verdict_stands_unless_the_data_turn_against_it():
    values = [*STEADY, 0.03, -0.03]  # p of the t test of all: 0.2
    looks = Looks()
    assert look(looks, values, 6).verdict == "better"
    assert look(Looks(), values, 8).verdict == "inconclusive"
    assert look(looks, values, 8).verdict == "better"
    assert look(looks, values, 8, reverse=True).verdict == "worse"
    assert look(looks, [*STEADY, -0.2, -0.2, -0.2], 9).verdict == "inconclusive"


def test_too_few_seeds_are_no_look():
    looks = Looks()
    assert look(looks, STEADY, 5).level is None
    assert look(looks, STEADY, 6).look == 1


# --- runs far from the others -----------------------------------------------------------------


def test_few_seeds_do_not_decide_where_a_run_lies_far_from_the_others():
    reference = by_seed([0.50, 0.51, 0.50, 0.51, 0.50, 0.51, 0.30])
    arm = {"arm": by_seed([0.55, 0.56, 0.552, 0.558, 0.551, 0.559, 0.556])}
    judged = judged_against(arm, reference, resamples=99)["arm"]
    assert stats.ttest_rel([*arm["arm"].values()], [*reference.values()]).pvalue < 0.04
    assert (judged.verdict, judged.least_seeds) == ("inconclusive", 19)
    assert judged.more_seeds >= 12
    overwhelming = {"arm": {seed: value + 0.4 for seed, value in arm["arm"].items()}}
    assert judged_against(overwhelming, reference, resamples=99)["arm"].verdict == "better"


def test_an_overwhelming_difference_of_skewed_runs_is_decided():
    """Differences of about fourteen points, one of them three points less than the others."""
    reference = by_seed([0.548, 0.553, 0.549, 0.552, 0.551, 0.518])
    arm = {"arm": by_seed([0.40, 0.402, 0.399, 0.401, 0.403, 0.398])}
    judged = judged_against(arm, reference, resamples=99)["arm"]
    assert (judged.verdict, judged.least_seeds) == ("worse", 19)
