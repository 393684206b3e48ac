"""The model's estimates against simulated truths, and their text."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import accuracy_table, loss_table, noisy_losses

from relu_search.analysis.estimates import (
    FEWEST_TO_ESTIMATE,
    estimate_text,
    estimates,
    full_length,
)
from relu_search.settings.metrics import METRICS

LOSS, ACCURACY = METRICS["val_loss"], METRICS["val_accuracy"]


def test_only_full_length_trials_with_a_finite_metric_count():
    trials = accuracy_table(("1*6", 0.5), ("1*6", math.nan), ("1*6", 0.9, "PRUNED"))
    assert list(full_length(trials, ACCURACY)["trial"]) == [0]


def test_estimates_are_nearer_to_the_truth_than_single_runs():
    ours, raw = [], []
    for seed in range(10):
        bits, losses, truth = noisy_losses(seed)
        known = estimates(loss_table(bits, losses), LOSS)["estimate"]
        ours.append(np.mean((np.log(known[bits]) - np.log(truth)) ** 2))
        raw.append(np.mean((np.log(losses) - np.log(truth)) ** 2))
    assert np.mean(ours) < 0.4 * np.mean(raw)


def test_a_run_far_worse_than_all_others_keeps_its_own_value():
    bits, losses, _ = noisy_losses(0)
    once = next(i for i, text in enumerate(bits) if bits.count(text) == 1)
    losses[once] = 60.0
    known = estimates(loss_table(bits, losses), LOSS)
    assert known.loc[bits[once], "estimate"] == 60.0
    assert np.isnan(known.loc[bits[once], "sd"])
    assert known["sd"].drop(bits[once]).notna().all()


def test_two_sd_contain_the_truth_as_often_as_they_should():
    inside = []
    for seed in range(10):
        bits, losses, truth = noisy_losses(seed)
        known = estimates(loss_table(bits, losses), LOSS)
        of_truth = dict(zip(bits, truth, strict=True))
        for text, row in known.iterrows():
            inside.append(abs(row["estimate"] - of_truth[text]) < 2 * row["sd"])
    assert 0.85 < np.mean(inside) <= 1


@pytest.mark.parametrize("factor", [0.1, 20.0])
def test_losses_in_another_unit_give_the_same_estimates_in_that_unit(factor):
    """The model of a loss is on the log scale, but estimate and sd are in the unit of the loss."""
    bits, losses, _ = noisy_losses(1)
    known = estimates(loss_table(bits, losses), LOSS)[["estimate", "sd"]]
    scaled = estimates(loss_table(bits, factor * np.array(losses)), LOSS)[["estimate", "sd"]]
    pd.testing.assert_frame_equal(scaled, factor * known, rtol=1e-6)


def test_the_estimate_from_few_trials_is_the_mean():
    bits, losses, _ = noisy_losses(0, count=FEWEST_TO_ESTIMATE - 1)
    known = estimates(loss_table(bits, losses), LOSS)
    means = pd.Series(losses).groupby(pd.Series(bits)).mean()
    assert known["estimate"].to_dict() == pytest.approx(means.to_dict())
    assert known["sd"].isna().all()


def test_trials_that_did_not_train_to_the_end_do_not_count():
    bits, losses, _ = noisy_losses(0)
    trials = loss_table(bits, losses)
    more = loss_table(["111111", "000000"], [0.001, math.nan]).assign(state=["PRUNED", "COMPLETE"])
    known = estimates(pd.concat([trials, more]), LOSS)
    pd.testing.assert_frame_equal(known, estimates(trials, LOSS))


def test_the_text_of_an_estimate_has_unit_and_deviation_where_they_are_known():
    known = pd.DataFrame({"estimate": [0.9613, 0.5], "sd": [0.0042, math.nan]}, index=["a", "b"])
    assert estimate_text(known, "a", ACCURACY) == "96.1 ± 0.4 %"
    assert estimate_text(known, "b", ACCURACY) == "50.0 %"
    assert estimate_text(known, "a", LOSS) == "0.961 ± 0.004"
    assert estimate_text(known, "c", LOSS) == "-"
