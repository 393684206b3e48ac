"""The leaderboard: the order of trials, the best trial, the table and the caveat."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import FAILED, LINEAR, loss_table, noisy_losses, rows_like

from relu_search import SearchConfig
from relu_search.analysis.leaderboard import (
    best_trial,
    caveat,
    leaderboard_rows,
    leaderboard_table,
    ranked,
)
from relu_search.settings.metrics import METRICS

LOSS, ACCURACY = METRICS["val_loss"], METRICS["val_accuracy"]


def table(*differences):
    return pd.DataFrame(rows_like(*differences)).astype({"val_accuracy": float, "val_loss": float})


def test_full_length_ranks_before_stopped_before_failed_and_further_before_earlier():
    trials = table(
        FAILED,
        {"state": "PRUNED", "epochs": 1, "val_accuracy": 0.99},
        {"state": "PRUNED", "epochs": 2, "val_accuracy": 0.10},
        {"val_accuracy": 0.6},
        {"val_accuracy": 0.7},
        {"val_accuracy": 0.7},
    )
    assert list(ranked(trials, ACCURACY)["trial"]) == [4, 5, 3, 2, 1, 0]


@pytest.mark.parametrize(("metric", "first"), [("val_accuracy", 0), ("val_loss", 1)])
def test_the_metric_decides_the_rank(metric, first):
    trials = table({"val_accuracy": 0.9, "val_loss": 2.0}, {"val_accuracy": 0.8, "val_loss": 0.5})
    assert ranked(trials, METRICS[metric])["trial"].iloc[0] == first
    assert best_trial(trials, SearchConfig(metric=metric).resolve())["trial"] == first


def test_the_control_and_stopped_trials_are_never_best():
    trials = table(
        {**LINEAR, "val_accuracy": 0.99},
        {"state": "PRUNED", "epochs": 2, "val_accuracy": 0.98},
        {"val_accuracy": 0.3},
    )
    assert best_trial(trials, SearchConfig().resolve())["trial"] == 2
    assert best_trial(trials[:2], SearchConfig().resolve()) is None


@pytest.mark.parametrize(
    ("metric", "control", "leads"),
    [
        ("val_accuracy", {"val_accuracy": 0.8}, True),
        ("val_accuracy", {"val_accuracy": 0.5}, False),
        ("val_accuracy", {"val_accuracy": 0.2}, False),
        ("val_loss", {"val_loss": 0.9}, True),
        ("val_loss", {"val_loss": 1.1}, False),
        ("val_accuracy", {"val_accuracy": 0.8, "state": "FAIL"}, False),
    ],
)
def test_the_caveat_says_when_the_control_leads(metric, control, leads):
    line = caveat(table({**LINEAR, **control}, {}), SearchConfig(metric=metric).resolve(), 100)
    assert ("control leads" in line) == leads
    assert "\n" not in line


def test_best_keeps_to_the_relu_limits_of_the_search():
    trials = table({"relus": 5, "val_accuracy": 0.9}, {"relus": 2, "val_accuracy": 0.6}, LINEAR)
    assert best_trial(trials, SearchConfig(max_relus=4, granularity="site").resolve())["relus"] == 2
    assert best_trial(trials, SearchConfig(min_relus=0, max_relus=0).resolve())["relus"] == 0


def test_equal_accuracy_is_decided_by_loss():
    trials = table({"val_loss": 0.9}, {"val_loss": 0.7}, {"val_loss": 0.8})
    assert best_trial(trials, SearchConfig().resolve())["val_loss"] == 0.7


def test_the_caveat_states_the_binomial_noise():
    line = caveat(table({"val_accuracy": 0.8}), SearchConfig().resolve(), 1600)
    assert "1,600" in line
    assert "±1.0 points" in line  # sqrt(0.8 * 0.2 / 1600)


def test_hand_designed_modules_are_shown_even_when_they_rank_last():
    found = [{"val_accuracy": 0.5 + i / 100} for i in range(15)]
    trials = table(*found, {"module": "paired", "val_accuracy": 0.1}, LINEAR, FAILED)
    shown = leaderboard_table(trials, ACCURACY)
    names = list(shown.columns[1].cells)
    assert "paired" in names
    assert "linear (control)" in names
    assert len(names) == 10 + 2


def test_repeated_seeds_are_one_row_of_their_mean():
    bits, losses, _ = noisy_losses(3, count=20)
    best = int(np.argmin(losses))
    trials = loss_table([*bits, bits[best]], [*losses, losses[best] * 1.05])
    rows = [cells for _, cells in leaderboard_rows(trials, LOSS)]
    row = next(cells for cells in rows if cells[1] == bits[best])
    runs = trials[trials["placement"] == bits[best]]
    assert row[4] == str(len(runs))
    assert row[6] == f"{runs['val_loss'].mean():.3f}"
    assert "±" in row[7]
    assert sum(cells[1] == bits[best] for cells in rows) == 1


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_a_lucky_run_does_not_lead(metric):
    bits, losses, _ = noisy_losses(5, noise=0.02)
    worst = bits[int(np.argmax(losses))]
    trials = loss_table([*bits, worst], [*losses, losses.min() * 0.9], seeds=[0] * 40 + [1])
    assert ranked(trials, METRICS[metric])["placement"].iloc[0] != worst
