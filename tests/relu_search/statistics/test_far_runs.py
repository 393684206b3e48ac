"""When a run lies far from the others, and how many seeds that asks for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.simulated import by_seed

from relu_search.statistics.far_runs import SeedsNeeded, has_far_values, seeds_needed


def test_a_value_is_far_by_four_robust_standard_deviations():
    group = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # median 0, median distance 1
    for value, far in ((5.9, False), (5.97, True)):
        assert has_far_values([np.array([*group[:4], value])]) is far
    # In a group of its own the last value is far; the spread of the other group is larger.
    assert not has_far_values([np.array([*group[:4], 5.97]), 3 * group])
    assert not has_far_values([])


@pytest.mark.parametrize(("arms", "needed"), [(1, 19), (9, 27)])
def test_enough_seeds_are_asked_for_that_a_second_mode_is_seen(arms, needed):
    assert arms * 0.75**needed <= 0.005 < arms * 0.75 ** (needed - 1)
    rng = np.random.default_rng(0)
    scores = {str(i): by_seed(rng.uniform(0.50, 0.51, 8)) for i in range(arms + 1)}
    pairs = [(str(i), "0") for i in range(1, arms + 1)]
    assert seeds_needed(scores, pairs) == SeedsNeeded(least=6, farthest=0)
    scores["0"][3] = 0.2
    found = seeds_needed(scores, pairs)
    assert (found.least, found.has_far_runs) == (needed, True)
    assert found.farthest == pytest.approx(np.median([*scores["0"].values()]) - 0.2, abs=0.01)


def test_with_fewer_seeds_a_difference_must_exceed_half_of_the_farthest_distance():
    needed = SeedsNeeded(least=19, farthest=0.4)
    assert [needed.shift(n) for n in (6, 18, 19, 40)] == [0.2, 0.2, 0, 0]
    assert SeedsNeeded().shift(6) == 0


def test_arms_without_a_seed_in_common_ask_for_no_more_seeds():
    scores = {"0": {1: 0.5, 2: 0.6}, "1": {3: 0.5, 4: 0.6}}
    assert seeds_needed(scores, [("1", "0")]) == SeedsNeeded()
