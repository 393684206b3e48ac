"""The leaderboard: the order of trials, the best trial, the table and the caveat."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import FAILED, LINEAR, loss_table, noisy_losses, rows_like
from rich.console import Console

from relu_search import SearchConfig
from relu_search.analysis.leaderboard import (
    best_trial,
    caveat,
    leaderboard,
    leaderboard_note,
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


@pytest.mark.parametrize(
    ("accuracy", "images", "says"),
    [
        # Wilson (1927): centre (x + z^2 / 2) / (n + z^2), z^2 = 3.8415
        (0.8, 1600, "1,600 validation images alone leave 80.0% between 78.0% and 81.9%"),
        (1.0, 40, "40 validation images alone leave 100.0% between 91.2% and 100.0%"),  # n/(n+z^2)
        (0.0, 40, "40 validation images alone leave 0.0% between 0.0% and 8.8%"),
    ],
)
def test_the_caveat_states_the_noise_by_wilsons_interval(accuracy, images, says):
    assert says in caveat(table({"val_accuracy": accuracy}), SearchConfig().resolve(), images)


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
    rows = [cells for _, cells in leaderboard(trials, LOSS)[1]]
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


SAME = {"placement": "111000"}


def rows_by_placement(trials, metric=ACCURACY):
    columns, rows = leaderboard(trials, metric)
    return {cells[1]: dict(zip(columns, cells, strict=True)) for _, cells in rows}


def test_a_placement_is_one_row_whatever_became_of_its_seeds():
    stopped = {"state": "PRUNED", "epochs": 1, "val_accuracy": 0.9}
    trials = table(
        {**SAME, "val_accuracy": 0.6},
        {**SAME, **stopped},
        {"placement": "000001", **stopped},
        {**SAME, "val_accuracy": 0.4},
        {"placement": "000001", **stopped, "epochs": 2, "val_accuracy": 0.7},
        {**FAILED, **SAME},
        {**FAILED, "placement": "000010"},
        {**FAILED, "placement": "000010"},
        {"module": "2:1", "placement": "010101"},
        {**stopped, "module": "2:1", "placement": "010101"},
    )
    rows = rows_by_placement(trials)
    seeds = {"111000": "2+1", "2:1": "1+1", "000001": "0+2", "000010": "0"}
    assert {name: row["seeds"] for name, row in rows.items()} == seeds
    assert [row["#"] for row in rows.values()] == ["1", "2", "3", "4"]
    assert (rows["111000"]["val acc"], rows["111000"]["epochs"]) == ("50.0 %", "3")
    assert (rows["000001"]["val acc"], rows["000001"]["epochs"]) == ("70.0 %", "2")
    reason = 'ValueError: "no", such\nluck'
    assert rows["111000"]["failure"] == f"failed: {reason}"
    assert rows["000010"]["failure"] == f"2 failed: {reason}"
    assert rows["2:1"]["failure"] == ""


def test_without_a_failed_trial_there_is_no_column_for_it():
    assert "failure" not in rows_by_placement(table({}))["000000"]


def test_without_a_model_the_numbers_are_called_means():
    columns, _ = leaderboard(table({}), ACCURACY)
    assert "mean" in columns
    assert "estimate" not in columns
    bits, losses, _ = noisy_losses(3, count=20)
    columns, _ = leaderboard(loss_table(bits, losses), LOSS)
    assert "estimate" in columns
    assert "mean" not in columns


def test_the_note_says_what_the_column_of_seeds_counts():
    assert leaderboard_note(table({})) == "seeds: trained to full length."


@pytest.mark.parametrize(
    ("found", "words"),
    [(10, ""), (11, "; 1 more placement is in trials.csv"), (17, "; 7 more placements are in")],
)
def test_the_note_counts_the_placements_that_are_not_shown(found, words):
    seeds = [{"placement": f"{i % found:06b}", "state": "PRUNED"} for i in range(2 * found)]
    modules = [{"module": "paired", "placement": "1" * 6}, LINEAR]
    trials = table(*seeds, *modules)
    shown = rows_by_placement(trials)
    assert len(shown) == min(found, 10) + 2
    assert leaderboard_note(trials).startswith(
        f"seeds: trained to full length + stopped early{words}"
    )
    assert ("more" in leaderboard_note(trials)) == (found > 10)


def test_a_long_placement_is_shown_whole_on_a_narrow_terminal():
    bits = "0110100110010110"
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(leaderboard_table(loss_table([bits, "1" * 16], [0.1, 0.2]), LOSS))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "".join(line[3:20].strip() for line in text.splitlines()[1:]).startswith(bits)
