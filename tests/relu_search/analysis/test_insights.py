"""What the trials say together, against hand computation, brute force and scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from relu_search.analysis.estimates import full_length
from relu_search.analysis.pareto import pareto_front
from relu_search.analysis.rank_agreement import grace_warning, rank_correlation
from relu_search.analysis.site_effects import site_influence, welch
from search_spaces import Backbone, InputError

NET = Backbone.parse("plain-8", 4)


def trials_of(*rows):
    """(placement, accuracy) pairs as full-length trials; a third element is the state."""
    return pd.DataFrame(
        [
            {"trial": i, "placement": p, "val_accuracy": a, "state": (*state, "COMPLETE")[0]}
            for i, (p, a, *state) in enumerate(rows)
        ],
        columns=["trial", "placement", "val_accuracy", "state"],
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_dominates(seed):
    rng = np.random.default_rng(seed)
    relus = pd.Series(rng.integers(0, 6, 25))
    score = pd.Series(rng.integers(0, 8, 25) / 8)  # ties on both sides
    points = list(zip(relus, score, strict=True))
    expected = [
        not any(r <= x and s >= y and (r, s) != (x, y) for r, s in points) for x, y in points
    ]
    assert list(pareto_front(relus, score)) == expected


def test_only_full_length_trials_with_a_finite_metric_count():
    trials = trials_of(("1*6", 0.5), ("1*6", math.nan), ("1*6", 0.9, "PRUNED"))
    assert list(full_length(trials, "val_accuracy")["trial"]) == [0]


def test_influence_by_hand():
    trials = trials_of(("100000", 0.8), ("100001", 0.6), ("000000", 0.3), ("000001", 0.5))
    table = site_influence(trials, NET, "val_accuracy")
    first, last = table.iloc[0], table.iloc[5]
    assert first["difference"] == pytest.approx(0.7 - 0.4)
    assert last["difference"] == pytest.approx(0.55 - 0.55)
    assert (first["kept"], first["dropped"], first["stage"]) == (2, 2, 0)
    # Both variances are 0.02: two degrees of freedom, standard error sqrt(0.02 / 2 * 2).
    reach = 4.302653 * math.sqrt(0.02)
    assert first["low"] == pytest.approx(0.3 - reach, abs=1e-6)
    assert first["high"] == pytest.approx(0.3 + reach, abs=1e-6)


def test_a_site_that_never_varies_has_no_influence():
    table = site_influence(trials_of(("100000", 0.8), ("110000", 0.6)), NET, "val_accuracy")
    assert math.isnan(table["difference"][0])
    assert (table["kept"][0], table["dropped"][0]) == (2, 0)
    assert table["difference"][1] == pytest.approx(-0.2)
    assert math.isnan(table["low"][1])


def test_a_placement_of_another_net_is_refused():
    with pytest.raises(InputError, match="sites"):
        site_influence(trials_of(("1*5", 0.5)), NET, "val_accuracy")


@pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 40), (9, 9)])
def test_the_interval_is_welchs(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 3, n), rng.normal(0, 1, m)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert welch(a, b) == pytest.approx((a.mean() - b.mean(), expected.low, expected.high))


def curves(early, late):
    """Tables of trials with these metrics after epochs 1 and 2."""
    trials = trials_of(*(("1*6", value) for value in late))
    epochs = pd.DataFrame(
        [
            {"trial": i, "epoch": e, "val_accuracy": v}
            for e, values in ((1, early), (2, late))
            for i, v in enumerate(values)
        ]
    )
    return trials, epochs


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_spearmans_ties_and_all(seed):
    rng = np.random.default_rng(seed)
    early, late = rng.integers(0, 6, (2, 15)) / 6
    table = rank_correlation(*curves(early, late), "val_accuracy", resamples=200)
    assert list(table["epoch"]) == [1]
    row = table.iloc[0]
    assert row["rho"] == pytest.approx(stats.spearmanr(early, late).statistic)
    assert row["low"] < row["rho"] < row["high"]
    again = rank_correlation(*curves(early, late), "val_accuracy", resamples=200)
    pd.testing.assert_frame_equal(table, again)


def test_trials_without_a_metric_at_an_epoch_are_left_out_there():
    early = [0.1, math.nan, 0.3, 0.2]
    row = rank_correlation(*curves(early, [0.1, 0.9, 0.3, 0.2]), "val_accuracy").iloc[0]
    assert (row["n"], row["rho"]) == (3, pytest.approx(1))


def test_a_constant_metric_has_no_rank_correlation():
    row = rank_correlation(*curves([0.5] * 9, range(9)), "val_accuracy").iloc[0]
    assert math.isnan(row["rho"])


@pytest.mark.parametrize("rows", [[], [("1*6", 0.5)], [("1*6", 0.5, "PRUNED")]])
def test_few_trials_make_small_tables(rows):
    trials = trials_of(*rows)
    epochs = pd.DataFrame({"trial": [0], "epoch": [1], "val_accuracy": [0.5]})
    assert rank_correlation(trials, epochs, "val_accuracy").empty
    assert len(site_influence(trials, NET, "val_accuracy")) == 6


@pytest.mark.parametrize(
    ("n", "rho", "said"),
    [(20, 0.8, None), (20, 0.3, "WARNING"), (7, 0.9, "Too few"), (20, math.nan, "Too few")],
)
def test_the_warning_at_the_grace_epoch(n, rho, said):
    table = pd.DataFrame({"epoch": [1, 2], "n": [n] * 2, "rho": [1.0, rho]})
    line = grace_warning(table, 2)
    assert line.startswith(said) if said else line == ""
    assert grace_warning(table, 3) == ""  # the last epoch: nothing is stopped
