"""How often a verdict is wrong, in simulated confirmations with known true differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.simulated import NOISES, by_seed, simulate
from scipy import stats

from relu_search.confirmation.verdict_rule import judge


def is_better(runs):
    """(confirmation, arm): whether each arm is *better* than paired, by the stated rule."""
    differences = runs[:, 1:] - runs[:, :1]
    n = differences.shape[2]
    error = differences.std(2, ddof=1) / math.sqrt(n)
    p = 2 * stats.t.sf(np.abs(differences.mean(2)) / error, n - 1)
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(steps, 1), 1)
    signs = np.array(list(itertools.product((1, -1), repeat=n)))
    sums = np.abs(differences @ signs.T)
    flips = (sums >= np.abs(differences.sum(2))[..., None] - 1e-12).mean(2)
    return (adjusted <= 0.05) & (flips <= 0.05) & (differences.mean(2) > 0)


@pytest.fixture
def unplanned(monkeypatch):
    """Without `more_seeds` and statsmodels' garbage collection: slow, and no part of a verdict."""
    monkeypatch.setattr("relu_search.confirmation.verdict_rule.more_seeds", lambda *_, **__: 1)
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def judged_better(runs):
    return [
        [j.verdict == "better" for j in judge(arms, by_seed(paired), resamples=99).values()]
        for paired, *others in runs
        for arms in [{f"arm{i}": by_seed(other) for i, other in enumerate(others)}]
    ]


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("noise", NOISES)
def test_no_better_verdict_in_95_percent_of_null_confirmations(noise, n):
    assert is_better(simulate(noise, n, 0)).any(1).mean() <= 0.05


@pytest.mark.parametrize(("noise", "n"), [("normal", 6), ("t3", 6), ("bimodal", 10)])
def test_judge_gives_the_verdicts_of_the_rule(noise, n, unplanned):
    null = simulate(noise, n, 0, confirmations=60)
    ahead = simulate(noise, n, 0, confirmations=60, lead=2.5)
    for runs in (null, ahead):
        assert judged_better(runs) == is_better(runs).tolist()


def test_judge_rarely_says_better_in_300_null_confirmations(unplanned):
    false = sum(map(any, judged_better(simulate("normal", 6, 3, confirmations=300))))
    assert false <= stats.binom.ppf(0.999, 300, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("noise", NOISES)
def test_judge_says_better_in_at_most_5_percent_of_2000_null_confirmations(noise, n, unplanned):
    runs = simulate(noise, n, 0)
    better = judged_better(runs)
    assert better == is_better(runs).tolist()
    assert sum(map(any, better)) <= 100


def test_ten_seeds_find_a_clear_difference():
    """A lead of 1.5 standard deviations of a run, noise half shared; five arms."""
    runs = simulate("normal", 10, 0, lead=1.5, shared=1)
    assert is_better(runs)[:, 0].mean() > 0.5
