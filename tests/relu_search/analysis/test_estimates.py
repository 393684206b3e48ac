"""The model's estimates against simulated truths, and their text."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import accuracy_table, loss_table, noisy_losses
from scipy import stats

from relu_search.analysis.estimates import (
    FEWEST_TO_ESTIMATE,
    estimate_text,
    estimates,
    full_length,
    gap_between,
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
    assert estimate_text(known, "b", ACCURACY) == "50.0 % (runs only)"
    assert estimate_text(known[["estimate", "sd"]].tail(1), "b", ACCURACY) == "50.0 %"
    assert estimate_text(known, "a", LOSS) == "0.961 ± 0.004"
    assert estimate_text(known, "c", LOSS) == "-"


def test_the_interval_of_a_difference_contains_the_true_one_as_often_as_it_should():
    inside, widths = [], []
    for seed in range(10):
        bits, losses, truth = noisy_losses(seed)
        trials = loss_table(bits, losses)
        of_truth = dict(zip(bits, truth, strict=True))
        known = estimates(trials, LOSS)
        texts = [text for text in known.index if known["sd"].notna()[text]]
        for leader, other in zip(texts[::2], texts[1::2], strict=False):
            gap = gap_between(trials, LOSS, leader, other)
            assert gap.low <= gap.behind <= gap.high
            assert gap.behind == pytest.approx(known["estimate"][other] - known["estimate"][leader])
            inside.append(gap.low <= of_truth[other] - of_truth[leader] <= gap.high)
            widths.append((gap.high - gap.low) / (known["sd"][[leader, other]] ** 2).sum() ** 0.5)
    assert 0.85 < np.mean(inside) <= 1
    assert np.mean(widths) < 2 * 1.96 * 1.05  # what two placements share cancels


def test_a_difference_from_a_placement_that_the_model_leaves_out_is_that_of_the_runs():
    bits, losses, _ = noisy_losses(0)
    once = [i for i, text in enumerate(bits) if bits.count(text) == 1]
    losses[once[0]] = 60.0
    trials = loss_table(bits, losses)
    gap = gap_between(trials, LOSS, bits[once[1]], bits[once[0]])
    assert (gap.low, gap.high, gap.seeds) == (None, None, (1, 1))
    assert gap.measured == pytest.approx(60.0 - losses[once[1]])
    assert not gap.is_told_apart


def test_without_a_model_two_seeds_each_give_welchs_interval():
    trials = accuracy_table(("1*6", 0.50), ("1*6", 0.54), ("01*3", 0.60), ("01*3", 0.61))
    gap = gap_between(trials.assign(val_loss=1.0), ACCURACY, "01*3", "1*6")
    # standard error sqrt(0.0008 / 2 + 0.00005 / 2), Welch-Satterthwaite degrees of freedom
    variances = np.array([0.0008, 0.00005]) / 2
    freedom = variances.sum() ** 2 / (variances**2).sum()
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum())
    assert (gap.behind, gap.low, gap.high) == pytest.approx((0.085, 0.085 - half, 0.085 + half))
    assert gap.is_told_apart == (half < 0.085)
