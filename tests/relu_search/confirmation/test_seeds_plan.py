"""How many more seeds: against simulated power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.simulated import by_seed, judged_against
from scipy import stats

from relu_search.confirmation.looks import level_of
from relu_search.confirmation.seeds_plan import more_seeds
from relu_search.statistics.far_runs import FarRuns


@pytest.mark.parametrize(("family", "n"), [(1, 2), (3, 6), (5, 10)])
def test_a_clearer_effect_needs_fewer_seeds(family, n):
    needs = [
        more_seeds(effect * 0.01, 0.01, n, margin=1e-9, family=family)
        for effect in (0.0, 0.01, 0.08, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5, 50)
    ]
    assert needs[:3] == [None, None, None]
    numbers = [math.inf if k is None else k for k in needs]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == max(1, 7 - n)


def test_more_seeds_is_symmetric_and_grows_with_the_family():
    plus, minus = (more_seeds(d, 0.01, 6, margin=0.003, family=3) for d in (0.007, -0.007))
    assert plus == minus
    needs = [more_seeds(0.007, 0.01, 6, margin=1e-9, family=k) for k in (1, 2, 5, 10)]
    assert needs == sorted(set(needs))


def test_no_verdict_is_planned_beyond_a_thousand_seeds():
    assert more_seeds(0.5, 0.01, 1_000, margin=0.003, family=1) is None


def test_with_far_runs_the_rest_of_the_difference_must_be_shown():
    """Without noise, the difference must exceed the share of far runs times their distance."""
    far = FarRuns(distance=0.3, pairs=1)
    for difference in (0.1, 0.05, 0.02):
        for spread in (0.0, 1e-6):
            n = 6 + more_seeds(difference, spread, 6, margin=1e-9, family=1, far=far)
            assert far.shift(n) < difference <= far.shift(n - 1)
    assert more_seeds(0.0, 1e-6, 6, margin=0.003, family=1, far=far) == 13  # equivalent from 19 on
    assert more_seeds(0.0, 1e-6, 6, margin=0.003, family=1) == 1


@pytest.mark.parametrize(("effect", "family"), [(0.3, 1), (0.8, 1), (0.5, 5), (1.2, 5)])
def test_the_promised_seeds_have_a_power_of_about_0_8(effect, family):
    n = 6 + more_seeds(effect * 0.01, 0.01, 6, margin=1e-9, family=family)
    rng = np.random.default_rng([int(effect * 10), family])
    differences = rng.normal(effect, 1, (8000, n))
    p = stats.ttest_1samp(differences, 0, axis=1).pvalue
    power = (p <= level_of(n, 6) / family).mean()
    assert 0.78 <= power <= 0.86  # standard error 0.004; whole seeds round up


@pytest.mark.parametrize(("spread", "true"), [(0.004, 0.0), (0.008, 0.0), (0.004, 0.001)])
def test_the_promised_seeds_show_equivalence_with_a_power_of_about_0_8(spread, true):
    """The margin is far enough from the difference that no difference is shown first."""
    n = 6 + more_seeds(true, spread, 6, margin=0.003, family=1)
    rng = np.random.default_rng([int(spread * 1000), int(true * 1000)])
    differences = rng.normal(true, spread, (8000, n))
    error = differences.std(1, ddof=1) / math.sqrt(n)
    far = (0.003 - np.abs(differences.mean(1))) / error
    power = (stats.t.sf(far, n - 1) <= level_of(n, 6)).mean()
    assert 0.78 <= power <= 0.86


def test_a_large_difference_over_few_seeds_is_judged_without_a_warning():
    reference = {1: 0.50, 2: 0.50, 3: 0.50}
    (judged,) = judged_against({"2:1": {1: 0.55, 2: 0.56, 3: 0.57}}, reference).values()
    assert (judged.verdict, judged.more_seeds) == ("inconclusive", 4)


def test_a_small_effect_within_a_thousand_seeds_gets_its_number():
    # 990 pairs: the t distribution is normal there, and the level that of a look after ten
    need = stats.norm.isf(level_of(990, 10) / 2) + stats.norm.ppf(0.8)
    effect = float(need) / 990**0.5
    assert abs(more_seeds(effect, 1.0, 10, margin=1e-9, family=1) + 10 - 990) <= 5


def test_equal_runs_without_spread_need_no_plan():
    same = by_seed([0.5, 0.6, 0.7])
    assert judged_against({"twin": same}, same)["twin"].more_seeds is None
