"""Estimates against ReLUs: which points, which front, and where the labels go."""

from __future__ import annotations

import numpy as np
import pandas as pd
from helpers.search_tables import search_tables
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relu_search.analysis.estimates import estimates
from relu_search.report.accuracy_against_relus import accuracy_against_relus, label_points
from relu_search.settings.metrics import METRICS


def test_labels_avoid_each_other():
    figure = Figure()
    axes = figure.add_subplot()
    where = [(0.5, 0.5), (0.5, 0.51), (0.52, 0.5), (0.5, 0.5)]
    label_points(axes, [(x, y, f"a name {i}") for i, (x, y) in enumerate(where)], where)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_cover_no_point_and_stay_inside():
    trials = search_tables("preresnet-bottleneck-20", 40)[1]
    metric = METRICS["val_accuracy"]
    figure = accuracy_against_relus(trials, metric)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    known = estimates(trials, metric)["estimate"] * metric.factor
    relus = trials.drop_duplicates("placement").set_index("placement")["relus"]
    points = axes.transData.transform(np.column_stack([relus[known.index], known]))
    frame = axes.get_window_extent()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    assert len(boxes) >= 4
    for box in boxes:
        assert not any(box.contains(x, y) for x, y in points)
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


def test_points_are_estimates_and_the_front_is_theirs():
    _, trials, _ = search_tables("plain-8", 20)
    lucky = trials.tail(1).assign(trial=[90], val_loss=0.01)  # one lucky run of the last placement
    trials = pd.concat([trials, lucky], ignore_index=True)
    metric = METRICS["val_loss"]
    axes = accuracy_against_relus(trials, metric).axes[0]
    known = estimates(trials, metric)["estimate"]
    modules = set(trials.loc[trials["module"] != "", "placement"])
    drawn = {str(line.get_label()).split(" (")[0]: line for line in axes.lines}
    expected = sorted(known[~known.index.isin(modules)])
    assert np.allclose(sorted(drawn["found placements"].get_ydata()), expected)
    front = drawn["Pareto front"].get_ydata()
    assert front[-1] == front[-2] == known.min()
    assert list(front) == sorted(front, reverse=True)


def test_the_axis_shows_the_cost_of_the_objective():
    trials = search_tables("plain-8", 20)[1]
    trials = trials.assign(relu_elements=1024 * trials["relus"])
    metric = METRICS["val_loss"]
    axes = accuracy_against_relus(trials, metric, "relu_elements").axes[0]
    assert axes.get_xlabel() == "ReLU elements of an image"
    drawn = {str(line.get_label()).split(" (")[0]: line for line in axes.lines}
    found = trials[(trials["module"] == "") & (trials["state"] == "COMPLETE")]
    assert set(drawn["found placements"].get_xdata()) == set(found["relu_elements"])
    assert accuracy_against_relus(trials, metric).axes[0].get_xlabel().startswith("ReLUs kept")


def test_the_axis_of_latency_is_in_milliseconds_and_not_in_whole_numbers():
    _, trials, _ = search_tables("plain-8")
    trials["latency_ms"] = 0.5 + trials["relus"] / 10
    figure = accuracy_against_relus(trials, METRICS["val_accuracy"], "latency")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Latency of the folded network (ms)"
    drawn = {str(line.get_label()).split(" (")[0]: line for line in axes.lines}
    found = trials[trials["module"] == ""]
    assert set(drawn["found placements"].get_xdata()) == set(found["latency_ms"])
    assert axes.get_xlim()[1] < 1.3
