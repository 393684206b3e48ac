"""When a rung is trusted, against simulated trials whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.asha_simulation import normal_scores
from scipy import stats

from trials.early_stopping.rule import EarlyStopping
from trials.early_stopping.rung_evidence import (
    RungEvidence,
    SearchEvidence,
    each_placement_once,
)


def trials(seed, n, rho):
    """Signals and finals of n trials with this correlation, by number."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n)
    return dict(enumerate(x.tolist())), dict(enumerate(y.tolist()))


def test_without_stopped_trials_it_is_the_correlation_of_the_scores():
    signals, finals = trials(0, 30, 0.8)
    found = RungEvidence.of(signals, finals)
    x, y = (normal_scores(list(values.values())) for values in (signals, finals))
    r = np.corrcoef(x, y)[0, 1]
    unbiased = math.sqrt(r**2 / (r**2 + (1 - r**2) * 30 / 28))  # n - 2 degrees of freedom
    assert found.correlation == pytest.approx(unbiased)
    assert found.finished == 30


def test_the_correlation_is_that_of_all_trials_though_the_worst_were_stopped():
    corrected, of_the_rest = [], []
    for seed in range(60):
        signals, finals = trials(seed, 120, 0.85)
        limit = sorted(signals.values())[40]
        kept = {n: y for n, y in finals.items() if signals[n] < limit}
        corrected.append(RungEvidence.of(signals, kept).correlation)
        of_the_rest.append(
            stats.spearmanr([signals[n] for n in kept], list(kept.values())).statistic
        )
    assert np.mean(of_the_rest) < 0.65
    assert np.mean(corrected) == pytest.approx(0.85, abs=0.05)


@pytest.mark.parametrize("n", [12, 25, 60])
def test_the_bound_is_below_the_truth_in_nine_of_ten_searches(n):
    bounds = [RungEvidence.of(*trials(seed, n, 0.75)).at_least for seed in range(600)]
    assert np.mean(np.array(bounds) < 0.75) == pytest.approx(0.92, abs=0.04)


def test_an_outlier_does_not_make_a_rung_trusted():
    signals, finals = trials(1, 20, 0.0)
    signals[99], finals[99] = 1e6, 1e6
    assert np.corrcoef(list(signals.values()), list(finals.values()))[0, 1] > 0.99
    assert not RungEvidence.of(signals, finals).trusted


def test_the_chance_is_the_share_of_trials_that_end_before_the_place():
    rng = np.random.default_rng(2)
    hits, chances = [], []
    for seed in range(400):
        signals, finals = trials(seed, 41, 0.8)
        hidden = finals.pop(40)
        found = RungEvidence.of(signals, finals)
        place = int(rng.integers(1, 20))
        chances.append(found.chances([40], list(finals), place)[0])
        hits.append(hidden < sorted(finals.values())[place - 1])
    chances, hits = np.array(chances), np.array(hits)
    assert np.mean(hits) == pytest.approx(np.mean(chances), abs=0.05)
    assert np.mean(hits[chances < 0.1]) < 0.1
    assert np.mean(hits[chances > 0.8]) > 0.75


@pytest.mark.parametrize(
    ("signals", "finals"),
    [
        ({n: float(n) for n in range(20)}, {n: float(n) for n in range(11)}),
        (dict.fromkeys(range(20), 1.0), {n: float(n) for n in range(20)}),
        ({n: float(n) for n in range(20)}, dict.fromkeys(range(20), 1.0)),
    ],
    ids=["few", "signals alike", "finals alike"],
)
def test_where_nothing_can_be_told_there_is_no_evidence(signals, finals):
    assert RungEvidence.of(signals, finals) is None


def test_perfect_ranks_are_trusted_and_the_worst_has_no_chance():
    values = {n: float(n) for n in range(12)}
    found = RungEvidence.of({**values, 50: 11.5}, values)
    assert found.trusted
    assert found.chances([50], list(values), 1) < 1e-6
    assert found.chances([50, 3], [], 1).tolist() == [1, 1]


def test_a_placement_has_the_signal_of_its_first_trial_and_the_mean_of_its_ends():
    placements = {5: "a", 2: "a", 9: "b", 3: "c", 7: "c"}
    signals = {5: 0.5, 2: 0.2, 9: 0.9, 3: 0.3, 7: 0.7}
    finals = {5: 1.0, 2: 3.0, 7: 6.0, 8: 100.0}  # 8 has not been at this rung
    once = each_placement_once(signals, finals, {**placements, 8: "a"})
    assert once == ({2: 0.2, 3: 0.3, 9: 0.9}, {2: 2.0, 3: 6.0})


def test_lucky_seeds_of_the_best_placement_do_not_raise_the_bar():
    """A new placement that may become the best one goes on, however often the best was trained."""
    stopping = EarlyStopping(metric="val_loss", mode="min", max_epochs=2, grace_epochs=1)
    rng = np.random.default_rng(5)

    def told(evidence, number, placement, loss):
        for epoch in (1, 2):
            result = {"epoch": epoch, "train_loss": loss, "val_loss": loss + rng.normal() / 9}
            evidence.add(number, placement, result)

    once, often = SearchEvidence(stopping), SearchEvidence(stopping)
    for evidence in (once, often):
        for n in range(30):
            told(evidence, n, n, n / 10)
    for n in range(30, 230):
        told(often, n, 0, rng.normal() / 9)
    for evidence in (once, often):
        evidence.add(500, "new", {"epoch": 1, "train_loss": 0.15, "val_loss": 9.0})
        evidence.add(501, "bad", {"epoch": 1, "train_loss": 2.55, "val_loss": 9.0})
        assert not evidence.may_stop(500, 1)
        assert evidence.may_stop(501, 1)
        evidence.add(502, 7, {"epoch": 1, "train_loss": 2.65, "val_loss": 9.0})
        assert not evidence.may_stop(502, 1)  # a further seed


@pytest.mark.parametrize("rho", [0.87, 0.95])
def test_few_of_the_best_may_be_stopped_and_many_of_the_others(rho):
    """100 placements, of which 40 have not ended: which of these may be stopped?"""
    stopping = EarlyStopping(metric="val_loss", mode="min", max_epochs=2, grace_epochs=1)
    best, lost, others, stopped = 0, 0, 0, 0
    for seed in range(120):
        signals, finals = trials(seed, 100, rho)
        evidence = SearchEvidence(stopping)
        for n, signal in signals.items():
            for epoch in (1, 2) if n < 60 else (1,):
                result = {"epoch": epoch, "train_loss": signal, "val_loss": finals[n]}
                evidence.add(n, n, result)
        limit = sorted(finals.values())[4]  # the best twentieth
        if not evidence.at(1).trusted:
            continue
        for n in range(60, 100):
            may_stop = evidence.may_stop(n, 1)
            if finals[n] <= limit:
                best, lost = best + 1, lost + may_stop
            else:
                others, stopped = others + 1, stopped + may_stop
    assert best > 100
    assert lost <= 0.03 * best
    assert stopped > 0.4 * others


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_search_learns_which_way_is_better(mode):
    sign = -1 if mode == "max" else 1
    stopping = EarlyStopping(metric="val_loss", mode=mode, max_epochs=2, grace_epochs=1)
    evidence = SearchEvidence(stopping)
    for n in range(12):
        for epoch in (1, 2):
            result = {"epoch": epoch, "train_loss": float(n), "val_loss": sign * float(n)}
            evidence.add(n, n, result)
    evidence.add(12, 12, {"epoch": 1, "train_loss": 40.0, "val_loss": 0.0})
    assert evidence.may_stop(12, 1)
    assert not evidence.may_stop(0, 1)


@pytest.mark.parametrize(("cost", "may_stop"), [(2.0, False), (99.0, True)])
def test_a_placement_is_compared_with_those_that_cost_no_more(cost, may_stop):
    """The better a placement, the more it costs. One that ends late is good among the cheap."""
    stopping = EarlyStopping(metric="val_loss", mode="min", max_epochs=2, grace_epochs=1)
    evidence = SearchEvidence(stopping)
    for n in range(24):
        for epoch in (1, 2):
            result = {"epoch": epoch, "train_loss": float(n), "val_loss": float(n)}
            evidence.add(n, n, result, (24.0 - n,))
    evidence.add(50, 50, {"epoch": 1, "train_loss": 21.5, "val_loss": 9.0}, (cost,))
    assert evidence.may_stop(50, 1) is may_stop


def test_audits_are_a_tenth_and_follow_from_the_seed():
    stopping = [
        EarlyStopping(metric="m", mode="min", max_epochs=9, grace_epochs=1, seed=s) for s in (0, 1)
    ]
    drawn = [[rule.is_audit(n) for n in range(3000)] for rule in stopping]
    assert [np.mean(one) for one in drawn] == pytest.approx([0.1, 0.1], abs=0.015)
    assert drawn[0] != drawn[1]
    assert drawn[0] == [stopping[0].is_audit(n) for n in range(3000)]
