"""The race: which arms are dropped, against hand-worked bounds and simulated races."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.simulated import by_seed, simulate
from scipy import stats

from relu_search.confirmation.racing import Dropped, losers, newly_dropped


def upper_bound(arm, leader, challengers, looks):
    differences = np.array(arm) - np.array(leader)
    n = len(differences)
    quantile = stats.t.ppf(1 - 0.05 / (challengers * looks), n - 1)
    return differences.mean() + quantile * differences.std(ddof=1) / math.sqrt(n)


def test_an_arm_far_behind_is_out_with_its_bound():
    leader, close, far = (
        [0.80, 0.82, 0.81, 0.79],
        [0.795, 0.83, 0.80, 0.795],
        [0.50, 0.51, 0.51, 0.49],
    )
    arms = {"leader": by_seed(leader), "close": by_seed(close), "far": by_seed(far)}
    out = losers(arms, protected=frozenset(), planned_seeds=10)
    assert out == {"far": pytest.approx(upper_bound(far, leader, 2, 7))}
    assert out["far"] < 0
    assert losers(arms, protected=frozenset({"far"}), planned_seeds=10) == {}
    assert losers(arms, protected=frozenset({"leader", "close"}), planned_seeds=10) == out


def test_no_arm_is_out_before_three_seeds_are_shared():
    leader, far = {0: 0.9, 1: 0.91, 2: 0.9, 3: 0.92}, {0: 0.10, 1: 0.101, 2: 0.10}
    for n in (1, 2):
        arms = {"leader": leader, "far": dict(list(far.items())[:n])}
        assert losers(arms, protected=frozenset(), planned_seeds=3) == {}
    arms = {"leader": leader, "far": far}
    assert set(losers(arms, protected=frozenset(), planned_seeds=3)) == {"far"}


def test_no_race_without_a_rival():
    assert losers({}, protected=frozenset(), planned_seeds=6) == {}
    alone = {"only": by_seed([0.5, 0.6, 0.7])}
    assert losers(alone, protected=frozenset(), planned_seeds=6) == {}


def race(runs, protected=frozenset()):
    """The arms left after all seeds, with the rule run after every one."""
    left = {str(i): by_seed(scores) for i, scores in enumerate(runs)}
    planned = runs.shape[1]
    for n in range(1, planned):
        seen = {k: {s: v for s, v in scores.items() if s < n} for k, scores in left.items()}
        for name in losers(seen, protected=protected, planned_seeds=planned):
            del left[name]
    return set(left)


@pytest.mark.parametrize(("noise", "n", "lead"), [("normal", 6, 0.0), ("normal", 10, 0.0)])
def test_the_best_arm_is_lost_in_at_most_5_percent_of_races(noise, n, lead):
    races = simulate(noise, n, 4, lead=lead)
    lost = sum("1" not in race(runs) for runs in races)
    assert lost <= 0.05 * len(races)


def test_a_protected_arm_survives_any_race():
    runs = simulate("normal", 8, 5, confirmations=50)
    runs[:, 0] -= 0.3
    assert all("0" in race(r, frozenset({"0"})) for r in runs)
    assert not any("0" in race(r) for r in runs)


def test_paired_and_the_best_module_stay_and_the_others_go():
    scores = {
        "paired": by_seed([0.30, 0.31, 0.30]),
        "2:1": by_seed([0.50, 0.51, 0.52]),
        "3:2": by_seed([0.40, 0.41, 0.42]),
        "trial 1": by_seed([0.90, 0.92, 0.91]),
    }
    designed = {"paired", "2:1", "3:2"}
    found = newly_dropped(scores, designed=designed, dropped=(), planned_seeds=4)
    bound = upper_bound([0.40, 0.41, 0.42], [0.90, 0.92, 0.91], 3, 1)
    assert found == [Dropped(name="3:2", after=3, bound=pytest.approx(bound))]
    assert newly_dropped(scores, designed=designed, dropped={"3:2"}, planned_seeds=4) == []


def test_without_a_dropped_arm_the_others_may_share_more_seeds():
    """`far` has three seeds, so `late` is compared on three first, and then on four."""
    scores = {
        "paired": by_seed([0.90, 0.92, 0.91, 0.90]),
        "late": by_seed([0.80, 0.81, 0.65, 0.80]),
        "far": by_seed([0.10, 0.12, 0.10]),
    }
    found = newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=5)
    first = upper_bound([0.80, 0.81, 0.65], [0.90, 0.92, 0.91], 2, 2)
    then = upper_bound([0.80, 0.81, 0.65, 0.80], [0.90, 0.92, 0.91, 0.90], 1, 2)
    assert first > 0 > then
    assert [(drop.name, drop.after) for drop in found] == [("far", 3), ("late", 4)]


def test_after_the_last_seed_no_arm_is_dropped():
    """Then there is no seed left that it could be spared."""
    scores = {"paired": by_seed([0.30, 0.31, 0.30, 0.31]), "a": by_seed([0.90, 0.92, 0.91, 0.90])}
    scores["b"] = by_seed([0.10, 0.12, 0.10, 0.11])
    dropped = newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=5)
    assert [(drop.name, drop.after) for drop in dropped] == [("b", 4)]
    assert newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=4) == []
