"""The answer in sentences: its numbers are those of the leaderboard."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from helpers.replay import RUN_RECORD
from helpers.trial_tables import loss_table, noisy_losses

from relu_search import RunFolder, SearchConfig
from relu_search.analysis.answer import answer_lines, answer_numbers, report_text
from relu_search.analysis.estimates import estimates, gap_between
from relu_search.analysis.leaderboard import caveat, leaderboard
from relu_search.settings.metrics import METRICS
from search_spaces import InputError, Placement

NO_EPOCHS = pd.DataFrame(columns=["trial", "epoch", "val_accuracy", "val_loss"])


@pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
def test_the_headline_has_the_number_of_the_first_row_also_when_another_run_is_luckier(name):
    """The luckiest run of all belongs to the worst placement."""
    metric = METRICS[name]
    bits, losses, _ = noisy_losses(5, noise=0.02)
    worst = bits[int(losses.argmax())]
    trials = loss_table([*bits, worst], [*losses, losses.min() * 0.9], seeds=[0] * 40 + [1])
    trials["ratio"] = "2:1"
    config = SearchConfig(
        backbone="plain-8", granularity="site", metric=name, grace_epochs=1
    ).resolve()
    line = next(answer_lines(trials, NO_EPOCHS, config))
    _, rows = leaderboard(trials, metric)
    _, first = rows[0]
    number = metric.text(estimates(trials, metric)["estimate"][first[1]])
    assert f"is {first[1]} (ratio 2:1), at {number}." in line
    assert first[7].split()[0] == number.split()[0]
    assert first[1] != worst


def test_how_far_a_module_is_behind_is_the_difference_of_the_estimates_with_an_interval():
    bits, losses, _ = noisy_losses(1)
    trials = loss_table(bits, losses)
    known = estimates(trials, METRICS["val_loss"])["estimate"]
    within = known[[text for text in known.index if "1" in text]]
    paired = within.idxmax()
    trials.loc[trials["placement"] == paired, "module"] = "paired"
    config = SearchConfig(backbone="plain-8", granularity="site", grace_epochs=1).resolve()
    line = next(answer_lines(trials, NO_EPOCHS, config))
    gap = gap_between(trials, METRICS["val_loss"], within.idxmin(), paired)
    assert gap.is_told_apart
    assert f". paired is {known[paired] - within.min():.3f} behind (95 % between " in line
    assert f"between {gap.low:.3f} and {gap.high:.3f}" in line


def test_a_module_whose_interval_contains_zero_cannot_be_told_apart():
    bits, losses, _ = noisy_losses(1)
    trials = loss_table(bits, losses)
    known = estimates(trials, METRICS["val_loss"])["estimate"]
    second = known[[text for text in known.index if "1" in text]].sort_values().index[1]
    trials.loc[trials["placement"] == second, "module"] = "2:1"
    config = SearchConfig(backbone="plain-8", granularity="site", grace_epochs=1).resolve()
    assert ". 2:1 cannot be told apart from it (" in next(answer_lines(trials, NO_EPOCHS, config))


def test_the_best_hand_designed_module_and_paired_are_compared():
    rows = {"1*18": "paired", "01*9": "2:1/first", "10*9": "2:1/second", "0*18": "linear"}
    losses = [0.9, 0.5, 0.6, 0.3, 0.2]
    trials = loss_table([Placement.parse(one).bits for one in [*rows, "0*17+1"]], losses)
    trials["placement"], trials["module"] = [*rows, "0*17+1"], [*rows.values(), ""]
    config = SearchConfig(backbone="preresnet-20", granularity="site", grace_epochs=1).resolve()
    compared = answer_numbers(trials, config)["differences"]
    assert [(one["module"], round(one["behind"], 9)) for one in compared] == [
        ("2:1/first", 0.3),
        ("paired", 0.7),
    ]
    line = next(answer_lines(trials, NO_EPOCHS, config))
    assert "2:1/first is 0.300 behind; 1 and 1 runs are too few for an interval. paired is" in line


def test_the_answer_as_numbers_is_that_of_the_sentences():
    bits, losses, _ = noisy_losses(1)
    trials = loss_table(bits, losses)
    trials["ratio"] = "2:1"
    known = estimates(trials, METRICS["val_loss"])
    paired = known["estimate"].idxmax()
    trials.loc[trials["placement"] == paired, "module"] = "paired"
    config = SearchConfig(backbone="plain-8", granularity="site", grace_epochs=1).resolve()
    numbers = answer_numbers(trials, config)
    json.dumps(numbers, allow_nan=False)
    assert [row["placement"] for row in numbers["estimates"]] == list(
        known["estimate"].sort_values().index
    )
    best = numbers["best"]
    assert (best["ratio"], best["estimate"]) == ("2:1", known["estimate"][best["placement"]])
    assert best["low"] < best["estimate"] < best["high"]
    (difference,) = numbers["differences"]
    assert (difference["module"], difference["told_apart"]) == ("paired", True)
    assert difference["behind"] == pytest.approx(known["estimate"].max() - best["estimate"])
    assert best["placement"] in {row["placement"] for row in numbers["front"]}


@pytest.mark.parametrize(("count", "words"), [(20, "model's estimate"), (5, "mean of the runs")])
def test_the_note_says_whether_a_model_was_fitted(count, words):
    trials = loss_table(*noisy_losses(1, count=count)[:2])
    config = SearchConfig(backbone="plain-8", granularity="site", grace_epochs=1).resolve()
    assert f"Ranked by the {words}" in caveat(trials, config, 100)


def test_a_run_without_a_finished_trial_has_no_report(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config(SearchConfig().resolve(), RUN_RECORD)
    run.start_tables()
    with pytest.raises(InputError, match="no finished trial"):
        report_text(run)
