"""The best ratio of a search, on noisy tables whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.trial_tables import loss_table

from relu_search import SearchConfig
from relu_search.analysis.estimates import joint_scores
from relu_search.ratios.best_ratio import COLUMNS, LEVEL, best_ratio
from relu_search.settings.metrics import METRICS

SITES = 6


def config(**options):
    return SearchConfig(backbone="plain-8", granularity="site", **options).resolve()


def trials_by(losses_by_count, noise, repeats=4, seed=0):
    """Trials of placements with these numbers of ReLUs; the true loss depends on the number."""
    rng = np.random.default_rng(seed)
    bits, losses = [], []
    for count, loss in losses_by_count.items():
        for place in range(3):
            text = "".join("1" if (i - place) % SITES < count else "0" for i in range(SITES))
            bits += [text] * repeats
            losses += list(loss * np.exp(noise * rng.normal(size=repeats)))
    table = loss_table(bits, losses)
    table["ratio"] = [f"{SITES}:{count}" for count in table["relus"]]
    return table


CLEAR = {1: 3.0, 2: 2.5, 3: 1.0, 4: 2.0, 5: 2.5}


def test_a_clearly_best_ratio_is_alone_in_the_set():
    found = best_ratio(trials_by(CLEAR, 0.01), config())
    assert [row.relus for row in found.rows] == [5, 4, 3, 2, 1]
    assert [row.ratio for row in found.together] == ["6:3"]
    assert found.sentence() == (
        "Of the ratios tried, 6:3 is the best one with probability above 0.99; one of the others "
        "is it with probability below 0.01."
    )


def test_ratios_that_are_equal_cannot_be_told_apart_and_others_can():
    found = best_ratio(trials_by({2: 1.0, 3: 1.0, 4: 1.0, 5: 9.0}, 0.05), config())
    assert {2, 3, 4} >= {row.relus for row in found.together}
    assert len(found.together) > 1
    assert "cannot be told apart: the best one is among them with probability" in found.sentence()
    assert "; 6:5 is it with probability below 0.01." in found.sentence()


def test_many_neighbours_are_named_as_a_range():
    found = best_ratio(trials_by(dict.fromkeys((1, 2, 3, 4, 5), 1.0), 0.3, repeats=1), config())
    assert len(found.together) > 3
    first, last = found.together[0].ratio, found.together[-1].ratio
    assert f"Of the ratios tried, {first} to {last} cannot" in found.sentence()


def test_the_probabilities_are_those_of_the_model_with_wider_deviations():
    """Two placements: the difference of their scores is normal, so the chance is known."""
    trials = trials_by({2: 1.0, 4: 1.1}, 0.2, repeats=2)
    trials = trials[trials["placement"].isin(["110000", "111100"])]
    trials = trials.loc[trials.index.repeat(2)].assign(trial=range(8))
    found = best_ratio(trials, config())
    scores = joint_scores(trials, METRICS["val_loss"])
    (a, b), cov = scores.mean, scores.covariance
    own = 8 * scores.noise**2 / (4 + 1)
    sd = math.sqrt(2.5**2 * (cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) + 2 * own)
    chance = 0.5 * (1 + math.erf((a - b) / sd / math.sqrt(2)))
    by_text = {row.placement: row for row in found.rows}
    first = by_text[scores.placements[0]]
    assert first.probability == pytest.approx(chance, abs=0.03)
    half = 1.96 * math.sqrt(2.5**2 * cov[0, 0] + own)
    assert (first.low, first.high) == pytest.approx((math.exp(-a - half), math.exp(-a + half)))


def test_the_set_is_the_smallest_one_with_enough_probability():
    found = best_ratio(trials_by({1: 1.3, 2: 1.1, 3: 1.0, 4: 1.05, 5: 1.2}, 0.15), config())
    inside = sorted(row.probability for row in found.together)
    outside = [row.probability for row in found.rows if not row.in_set]
    assert sum(inside) >= LEVEL > sum(inside[1:])
    assert max(outside, default=0) <= inside[0]
    assert sum(inside) + sum(outside) == pytest.approx(1)


def test_a_ratio_whose_runs_are_far_worse_has_no_interval_and_no_chance():
    table = trials_by({2: 1.0, 3: 1.2, 4: 1.1}, 0.05, repeats=3)
    worst = trials_by({6: 1.0}, 0, repeats=1).head(1).assign(val_loss=1e6, module="paired")
    found = best_ratio(table.merge(worst, how="outer").assign(trial=range(28)), config())
    row = found.rows[0]
    assert (row.relus, row.module, row.low, row.probability) == (6, "paired", None, 0)
    assert not row.in_set
    assert found.cells()[0][COLUMNS.index("95 % interval")] == "-"


def test_ratios_outside_the_limits_do_not_count():
    found = best_ratio(trials_by(CLEAR, 0.01), config(min_relus=4))
    assert [row.relus for row in found.rows] == [5, 4]


@pytest.mark.parametrize(
    "trials", [trials_by(CLEAR, 0.1).head(7), trials_by({3: 1.0}, 0.1)], ids=["few trials", "one"]
)
def test_there_is_no_answer_without_a_model_or_a_second_ratio(trials):
    assert best_ratio(trials, config()) is None


def test_the_answer_is_the_same_each_time():
    first, second = (best_ratio(trials_by(CLEAR, 0.2), config()).to_json() for _ in range(2))
    assert first == second
