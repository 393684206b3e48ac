"""When a run lies far from the others, and how many seeds that asks for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.simulated import by_seed

from relu_search.statistics.far_runs import FarRuns, far_distances, far_runs


def test_a_value_is_far_by_four_robust_standard_deviations():
    group = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # median 0, median distance 1
    for value, found in ((5.9, []), (5.97, [5.97])):
        for sign in (1, -1):
            assert far_distances([sign * np.array([*group[:4], value])]).tolist() == found
    # In a group of its own the last value is far; the spread of the other group is larger.
    assert far_distances([np.array([*group[:4], 5.97]), 3 * group]).tolist() == []
    assert far_distances([]).tolist() == []


@pytest.mark.parametrize(("arms", "needed"), [(1, 19), (9, 27)])
def test_enough_seeds_are_asked_for_that_a_second_mode_is_seen(arms, needed):
    assert arms * 0.75**needed <= 0.005 < arms * 0.75 ** (needed - 1)
    rng = np.random.default_rng(0)
    scores = {str(i): by_seed(rng.uniform(0.50, 0.51, 8)) for i in range(arms + 1)}
    pairs = [(str(i), "0") for i in range(1, arms + 1)]
    assert far_runs(scores, pairs) == FarRuns(distance=0)
    assert not far_runs(scores, pairs)
    scores["0"][3] = 0.2
    found = far_runs(scores, pairs)
    assert (bool(found), found.least_seeds, found.pairs) == (True, needed, arms)
    assert found.distance == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("n", [6, 19, 100])
@pytest.mark.parametrize("pairs", [1, 9])
def test_the_shift_is_that_of_far_runs_which_the_seeds_miss(n, pairs):
    """With this share, n seeds show no far run of some arm with a probability of 0.005."""
    share = FarRuns(distance=1.0, pairs=pairs).shift(n)
    assert pairs * (1 - share) ** n == pytest.approx(0.005)
    assert FarRuns(distance=0.3, pairs=pairs).shift(n) == pytest.approx(0.3 * share)
    assert FarRuns(pairs=pairs).shift(n) == 0


def test_arms_without_a_seed_in_common_have_no_far_differences():
    scores = {"0": {1: 0.5, 2: 0.6}, "1": {3: 0.5, 4: 0.6}}
    assert far_runs(scores, [("1", "0")]) == FarRuns()
