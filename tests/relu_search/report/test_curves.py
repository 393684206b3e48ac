"""Figures over the epochs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from helpers.search_tables import search_tables, text_of

from relu_search.report.curves import learning_curves, rung_correlation
from relu_search.settings.metrics import METRICS


def test_a_weak_rank_correlation_is_marked():
    table = pd.DataFrame({"epoch": [1], "n": [20], "rho": [0.2], "low": [-0.2], "high": [0.5]})
    assert "WARNING" in text_of(rung_correlation(table, 1))
    assert "WARNING" not in text_of(rung_correlation(table.assign(rho=0.9, high=1), 1))
    assert "too few" in text_of(rung_correlation(table.assign(n=5), 1))


def test_the_curve_of_a_placement_with_two_seeds_is_their_mean():
    _, trials, epochs = search_tables("plain-8", 1)
    found = trials.index[-1]
    number = int(trials["trial"][found])
    twin = trials.loc[[found]].assign(trial=99)
    curve = epochs[epochs["trial"] == number]
    doubled = curve.assign(trial=99, val_accuracy=curve["val_accuracy"] / 2)
    figure = learning_curves(
        pd.concat([trials, twin]), pd.concat([epochs, doubled]), METRICS["val_accuracy"]
    )
    (line,) = [line for line in figure.axes[0].lines if "(n = 2)" in str(line.get_label())]
    assert np.allclose(line.get_ydata(), 75 * curve["val_accuracy"])
