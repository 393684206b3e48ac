"""The race: which arms are dropped, against hand-worked bounds and simulated races."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.simulated import NOISES, by_seed, simulate
from scipy import stats

from relu_search.confirmation.racing import Dropped, losers, newly_dropped

LEADER = [0.80, 0.82, 0.81, 0.79, 0.80, 0.82]
CLOSE = [0.795, 0.83, 0.80, 0.795, 0.805, 0.81]
FAR = [0.50, 0.51, 0.51, 0.49, 0.52, 0.50]


def upper_bound(arm, leader, challengers):
    differences = np.array(arm) - np.array(leader)
    n = len(differences)
    level = 0.05 * 5 * (1 / (n - 1) - 1 / n) / challengers
    quantile = stats.t.ppf(1 - level, n - 1)
    return differences.mean() + quantile * differences.std(ddof=1) / math.sqrt(n)


def test_an_arm_far_behind_is_out_with_its_bound():
    arms = {"leader": by_seed(LEADER), "close": by_seed(CLOSE), "far": by_seed(FAR)}
    out = losers(arms, protected=frozenset())
    assert out == {"far": pytest.approx(upper_bound(FAR, LEADER, 2))}
    assert out["far"] < 0
    assert losers(arms, protected=frozenset({"far"})) == {}
    assert losers(arms, protected=frozenset({"leader", "close"})) == out


def test_no_arm_is_out_before_six_seeds_are_shared():
    leader, far = by_seed(LEADER), by_seed(FAR)
    for n in range(1, 6):
        arms = {"leader": leader, "far": dict(list(far.items())[:n])}
        assert losers(arms, protected=frozenset()) == {}
    assert set(losers({"leader": leader, "far": far}, protected=frozenset())) == {"far"}


def test_where_a_run_lies_far_from_the_others_the_lead_must_be_larger():
    """The leading arm may have as many such runs as n seeds miss with a probability of 0.005."""
    rng = np.random.default_rng(0)
    for n, out in ((18, set()), (60, {"far"})):
        leader, far = rng.uniform(0.80, 0.82, n), rng.uniform(0.70, 0.72, n)
        far[3] = 0.3
        missed = (1 - 0.005 ** (1 / n)) * 0.41
        assert (far.mean() + missed < leader.mean() - 0.02) == bool(out)
        arms = {"leader": by_seed(leader), "far": by_seed(far)}
        assert set(losers(arms, protected=frozenset())) == out


def test_no_race_without_a_rival():
    assert losers({}, protected=frozenset()) == {}
    assert losers({"only": by_seed(LEADER)}, protected=frozenset()) == {}


def race(runs, protected=frozenset()):
    """The arms left after all seeds, with the rule run after every one."""
    left = {str(i): by_seed(scores) for i, scores in enumerate(runs)}
    for n in range(1, runs.shape[1]):
        seen = {k: {s: v for s, v in scores.items() if s < n} for k, scores in left.items()}
        for name in losers(seen, protected=protected):
            del left[name]
    return set(left)


@pytest.mark.parametrize("noise", NOISES)
def test_the_best_arm_is_lost_in_at_most_5_percent_of_races(noise):
    races = simulate(noise, 10, 4, confirmations=300)
    lost = sum("1" not in race(runs) for runs in races)
    assert lost <= stats.binom.ppf(0.999, 300, 0.05)


def uneven(n, confirmations, share):
    """Two equal arms: a share of the runs ends far below; the first has twice the other's noise."""
    rng = np.random.default_rng(9)
    shape = (confirmations, 2, n)
    noise = rng.normal(0, 0.3, shape) - 4 * (rng.random(shape) < share) + 4 * share
    return 0.8 + 0.01 * noise * np.array([2.0, 1.0])[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_the_best_arm_is_lost_in_at_most_5_percent_of_2000_races_also_with_two_modes(n, share):
    races = uneven(n, 2000, share)
    for best in ("0", "1"):
        assert sum(best not in race(runs) for runs in races) <= 100


def test_a_protected_arm_survives_any_race():
    runs = simulate("normal", 8, 5, confirmations=50)
    runs[:, 0] -= 0.3
    assert all("0" in race(r, frozenset({"0"})) for r in runs)
    assert sum("0" in race(r) for r in runs) <= 10  # where a run lies far, the lead must be larger


def test_paired_and_the_best_module_stay_and_the_others_go():
    noise = np.array([0.00, 0.01, -0.01, 0.02, -0.02, 0.01])
    scores = {
        "paired": by_seed(0.30 + noise),
        "2:1": by_seed(0.50 - noise),
        "3:2": by_seed(0.40 + noise[::-1]),
        "trial 1": by_seed(0.90 - noise[::-1]),
    }
    designed = {"paired", "2:1", "3:2"}
    found = newly_dropped(scores, designed=designed, dropped=(), planned_seeds=7)
    bound = upper_bound(0.40 + noise[::-1], 0.90 - noise[::-1], 3)
    assert found == [Dropped(name="3:2", after=6, bound=pytest.approx(bound))]
    assert newly_dropped(scores, designed=designed, dropped={"3:2"}, planned_seeds=7) == []


def test_without_a_dropped_arm_the_others_may_share_more_seeds():
    """`far` has six seeds, so `late` is compared on six first, and then on eight."""
    leader = np.array([0.90, 0.92, 0.91, 0.90, 0.92, 0.90, 0.91, 0.90])
    gaps = np.array([0.02, 0.04, 0.01, 0.05, 0.00, 0.03, 0.03, 0.03])
    scores = {"paired": by_seed(leader), "late": by_seed(leader - gaps), "far": by_seed(FAR)}
    first = upper_bound(-gaps[:6], np.zeros(6), 2)
    then = upper_bound(-gaps, np.zeros(8), 1)
    assert first > 0 > then
    found = newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=9)
    assert [(drop.name, drop.after) for drop in found] == [("far", 6), ("late", 8)]


def test_after_the_last_seed_no_arm_is_dropped():
    """Then there is no seed left that it could be spared."""
    scores = {"paired": by_seed(np.array(LEADER) - 0.5), "a": by_seed(LEADER), "b": by_seed(FAR)}
    dropped = newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=7)
    assert [(drop.name, drop.after) for drop in dropped] == [("b", 6)]
    assert newly_dropped(scores, designed={"paired"}, dropped=(), planned_seeds=6) == []
