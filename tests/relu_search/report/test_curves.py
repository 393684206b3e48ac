"""Figures over the epochs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from helpers.search_tables import config_of, search_tables, text_of

from relu_search.charts.epoch_curves import curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.report.curves import early_prediction, learning_curves
from relu_search.settings.metrics import METRICS


def test_the_bar_of_early_predictions_and_the_possible_stops_are_drawn():
    table = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "n": [20] * 3,
            "correlation": [0.2, 0.8, 0.9],
            "at_least": [0, 0.6, 0.8],
        }
    )
    figure = early_prediction(table, (1, 2))
    assert {"0.75: trusted above", "possible stop", "estimate, n = 20 placements"} <= set(
        text_of(figure).split("\n")
    )
    lines = [line.get_xdata() for line in figure.axes[0].lines]
    assert [list(x) for x in lines[-2:]] == [[1, 1], [2, 2]]
    assert "Too few" in text_of(early_prediction(table[:0], (1,)))


def test_the_curve_of_a_placement_with_two_seeds_is_their_mean():
    backbone, trials, epochs = search_tables("plain-8", 1)
    found = trials.index[-1]
    number = int(trials["trial"][found])
    twin = trials.loc[[found]].assign(trial=99)
    curve = epochs[epochs["trial"] == number]
    doubled = curve.assign(trial=99, val_accuracy=curve["val_accuracy"] / 2)
    trials, epochs = pd.concat([trials, twin]), pd.concat([epochs, doubled])
    marks = marks_of(trials, config_of(backbone, "val_accuracy"))
    figure = learning_curves(curves_of(trials, epochs, marks, METRICS["val_accuracy"]))
    (line,) = [line for line in figure.axes[0].lines if "(n = 2)" in str(line.get_label())]
    assert np.allclose(line.get_ydata(), 75 * curve["val_accuracy"])
    seeds = [c for c in figure.axes[0].collections if len(c.get_paths()) == 2]
    assert len(seeds) == 1
