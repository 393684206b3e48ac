"""Tests of paired differences, by hand and by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.simulated import exact_sign_flip_p
from scipy import stats

from relu_search.statistics.paired_tests import hedges_g, sign_flip_p, skewed_p


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


def test_hedges_g_without_spread_is_infinite():
    half, quarter = np.full(4, 0.5), np.full(4, 0.25)
    assert hedges_g(half, quarter) == math.inf
    assert hedges_g(quarter, half) == -math.inf
    assert hedges_g(half, half) == 0


def test_hedges_g_without_spread_is_infinite_for_rounded_accuracies():
    assert hedges_g(np.full(3, 0.5), np.full(3, 0.4)) == math.inf


def test_skewness_only_raises_p():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.exponential(1, 20) - 0.6
        p = stats.ttest_1samp(values, 0).pvalue
        assert skewed_p(values) >= p - 1e-12
        assert skewed_p(-values) == pytest.approx(skewed_p(values))
    assert skewed_p(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(
        stats.ttest_1samp([1.0, 2, 3, 4, 5], 0).pvalue
    )


def test_a_shift_is_taken_off_the_difference_on_either_side():
    values = np.array([0.31, 0.29, 0.32, 0.28, 0.30, 0.30])
    expected = stats.ttest_1samp(values, 0.25).pvalue
    assert skewed_p(values, 0.25) == pytest.approx(expected)
    assert skewed_p(-values, 0.25) == pytest.approx(expected)
    assert skewed_p(values, 0.31) == 1
    assert skewed_p(np.full(6, 0.3), 0.31) == 1
    assert skewed_p(np.full(6, 0.3), 0.29) == 0


def test_the_mean_of_skewed_noise_is_called_ahead_less_often():
    """Most values above the mean, few far below: the t test errs upwards, as its mean does."""
    rng = np.random.default_rng(1)
    noise = 1 - 4 * (rng.random((4_000, 20)) < 0.25) + rng.normal(0, 0.3, (4_000, 20))
    ahead = noise[noise.mean(1) > 0]
    plain = (stats.ttest_1samp(ahead, 0, axis=1).pvalue <= 0.05).sum()
    corrected = sum(skewed_p(values) <= 0.05 for values in ahead)
    assert plain > 0.025 * len(noise) > corrected


def test_a_larger_difference_never_raises_p():
    """Johnson's correction is a parabola, which falls beyond its top."""
    rng = np.random.default_rng(2)
    for n in (6, 7, 12, 30):
        for _ in range(50):
            noise = rng.exponential(1, n)
            noise = (noise.mean() - noise) / noise.std()
            p = [skewed_p(noise + shift) for shift in np.linspace(0, 40, 81)]
            assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(p))
            assert p[-1] < 1e-3
