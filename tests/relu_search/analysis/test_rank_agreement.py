"""Rank correlations of early and final metrics, and of a supernet, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import accuracy_table
from scipy import stats

from relu_search.analysis.rank_agreement import grace_warning, rank_correlation, supernet_agreement
from relu_search.settings.metrics import METRICS

LOSS, ACCURACY = METRICS["val_loss"], METRICS["val_accuracy"]


def curves(early, late):
    """Tables of trials with these metrics after epochs 1 and 2."""
    trials = accuracy_table(*(("1*6", value) for value in late))
    epochs = pd.DataFrame(
        [
            {"trial": i, "epoch": e, "val_accuracy": v}
            for e, values in ((1, early), (2, late))
            for i, v in enumerate(values)
        ]
    )
    return trials, epochs


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans_ties_and_all(seed):
    rng = np.random.default_rng(seed)
    early, late = rng.integers(0, 6, (2, 15)) / 6
    table = rank_correlation(*curves(early, late), ACCURACY, resamples=200)
    assert list(table["epoch"]) == [1]
    row = table.iloc[0]
    assert row["rho"] == pytest.approx(stats.spearmanr(early, late).statistic)
    assert row["low"] < row["rho"] < row["high"]
    again = rank_correlation(*curves(early, late), ACCURACY, resamples=200)
    pd.testing.assert_frame_equal(table, again)


def test_trials_without_a_metric_at_an_epoch_are_left_out_there():
    early = [0.1, math.nan, 0.3, 0.2]
    row = rank_correlation(*curves(early, [0.1, 0.9, 0.3, 0.2]), ACCURACY).iloc[0]
    assert (row["n"], row["rho"]) == (3, pytest.approx(1))


def test_a_constant_metric_has_no_rank_correlation():
    row = rank_correlation(*curves([0.5] * 9, range(9)), ACCURACY).iloc[0]
    assert math.isnan(row["rho"])


@pytest.mark.parametrize("rows", [[], [("1*6", 0.5)], [("1*6", 0.5, "PRUNED")]])
def test_few_trials_make_small_tables(rows):
    trials = accuracy_table(*rows)
    epochs = pd.DataFrame({"trial": [0], "epoch": [1], "val_accuracy": [0.5]})
    assert rank_correlation(trials, epochs, ACCURACY).empty


@pytest.mark.parametrize(
    ("n", "rho", "said"),
    [(20, 0.8, None), (20, 0.3, "WARNING"), (7, 0.9, "Too few"), (20, math.nan, "Too few")],
)
def test_the_warning_at_the_grace_epoch(n, rho, said):
    table = pd.DataFrame({"epoch": [1, 2], "n": [n] * 2, "rho": [1.0, rho]})
    line = grace_warning(table, 2)
    assert line.startswith(said) if said else line == ""
    assert grace_warning(table, 3) == ""  # the last epoch: nothing is stopped


def test_tau_is_that_of_the_shared_placements():
    trials = pd.DataFrame({"placement": list("abcdea"), "val_loss": [1.0, 2, 3, 4, 5, 1.5]})
    ranking = pd.DataFrame({"placement": list("edcbax"), "val_loss": [4.0, 5, 2, 3, 1, 0]})
    line = supernet_agreement(trials, ranking, LOSS)
    expected = stats.kendalltau([1.25, 2, 3, 4, 5], [1, 3, 2, 5, 4]).statistic
    assert f"{expected:.2f} (n = 5" in line
    assert "too few" in supernet_agreement(trials[:2], ranking, LOSS)
