"""How often a verdict is wrong, in simulated confirmations that follow the tool's own advice.

`benchmarks/verdicts.md` has the rates of many cases. Here the simulation is compared with the real
rule, and one case is repeated.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.simulated import by_seed
from scipy import stats

from benchmarks.verdicts.paths import NOISES, STEADY, Case, follow, follow_old
from relu_search.confirmation.looks import Looks
from relu_search.confirmation.verdict_rule import judge

EVEN = Case("normal", (1.0,) * 4, 2, (0.0, 0.0, 2.5, 0.0), 1.0, 0.3, 12)
UNEVEN = Case("two-mode", (0.2, 2.0, 0.5), 1, (0.0, 4.0, 0.0), 1.0, 2.0, 12)


def judged(case, runs):
    """The same path with `judge`: pair -> every verdict, the last number of seeds, the looks."""
    given = {pair: set() for pair in case.pairs}
    looks, n, number = Looks(), case.first, 0
    while True:
        number += 1
        scores = {str(arm): by_seed(values[:n]) for arm, values in enumerate(runs)}
        verdicts = judge(scores, case.pairs, looks=looks, margin=case.margin, resamples=9)
        for pair, judgement in verdicts.items():
            given[pair].add(judgement.verdict)
        plans = [j.more_seeds for j in verdicts.values() if j.more_seeds]
        if n >= case.cap or not plans:
            return given, n, number
        n = min(case.cap, n + min(plans))


@pytest.mark.parametrize("case", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_the_simulation_gives_the_verdicts_of_the_rule(case):
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(5):
        runs = case.runs(rng)
        path = follow(case, runs)
        assert (path.verdicts, path.seeds, path.looks) == judged(case, runs)
        kinds |= set().union(*path.verdicts.values())
    assert len(kinds) >= 2


@pytest.mark.parametrize("noise", NOISES)
def test_following_the_advice_gives_a_false_verdict_in_at_most_5_percent(noise):
    """With one found arm, or with four where only they have a second mode."""
    arms = 5 if noise == STEADY else 2
    case = Case(noise, (1.0,) * arms, 1, (0.0,) * arms, 1.0, 0.3, 60)
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(200):
        given = follow(case, case.runs(rng)).verdicts
        false += any(case.is_false(pair, v) for pair, found in given.items() for v in found)
    assert false <= stats.binom.ppf(0.999, 200, 0.05)


def test_the_simulation_notices_a_rule_that_errs_too_often():
    """The rule before, with two references."""
    rng = np.random.default_rng(4)
    case = Case("normal", (1.0,) * 6, 2, (0.0,) * 6, 1.0, 0.3, 60)
    false = 0
    for _ in range(150):
        given = follow_old(case, case.runs(rng)).verdicts
        false += any(case.is_false(pair, v) for pair, found in given.items() for v in found)
    assert false > stats.binom.ppf(0.999, 150, 0.05)


@pytest.mark.parametrize(
    ("pair", "verdict", "is_false"),
    [
        (("1", "0"), "better", False),
        (("1", "0"), "worse", True),
        (("1", "0"), "equivalent", True),
        (("2", "0"), "better", True),
        (("2", "0"), "worse", True),
        (("2", "0"), "equivalent", False),
        (("1", "0"), "inconclusive", False),
    ],
)
def test_what_counts_as_false(pair, verdict, is_false):
    case = Case("normal", (1.0,) * 3, 1, (0.0, 0.3, 0.0), 0.0, 0.3, 60)
    assert case.is_false(pair, verdict) is is_false
