"""Estimates against ReLUs: which points, which front, and where the labels go."""

from __future__ import annotations

import numpy as np
import pandas as pd
from helpers.search_tables import config_of, search_tables
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relu_search.analysis.estimates import estimates
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.trade_off import TradeOff
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


def trade_of(backbone, trials, metric="val_loss", cost="relus", **options):
    config = config_of(backbone, metric, **options)
    return TradeOff.of(marks_of(trials, config), config, cost)


def drawn_in(axes):
    return {str(line.get_label()).split(" (")[0]: line for line in axes.lines}


def test_labels_cover_no_point_and_stay_inside():
    backbone, trials, _ = search_tables("preresnet-bottleneck-20", 40)
    trade = trade_of(backbone, trials, "val_accuracy")
    figure = accuracy_against_relus(trade)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    points = axes.transData.transform([trade.point(mark) for mark in trade.marks])
    frame = axes.get_window_extent()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    assert len(boxes) >= 4
    for box in boxes:
        assert not any(box.contains(x, y) for x, y in points)
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


def test_each_placement_is_one_point_at_its_estimate_and_so_is_the_front():
    backbone, trials, _ = search_tables("plain-8", 20)
    lucky = trials.tail(1).assign(trial=[90], val_loss=0.01)  # one lucky run of the last placement
    trials = pd.concat([trials, lucky], ignore_index=True)
    trade = trade_of(backbone, trials)
    axes = accuracy_against_relus(trade).axes[0]
    known = estimates(trials, METRICS["val_loss"])["estimate"]
    markers = [x for x in axes.lines if x.get_linestyle() == "None" and x.get_marker() in "os*PXD^"]
    heights = sorted(y for line in markers for y in line.get_ydata())
    assert np.allclose(heights, sorted(known))
    runs = drawn_in(axes)["single runs, if several"].get_ydata()
    repeated = trials[trials["placement"].duplicated(keep=False)]
    assert np.allclose(sorted(runs), sorted(repeated["val_loss"]))
    front = drawn_in(axes)["best for its cost"].get_ydata()
    admitted = known.drop("0*6")  # the control
    assert front[-1] == front[-2] == admitted.min()
    assert list(front) == sorted(front, reverse=True)


def test_the_axis_shows_the_cost_of_the_objective():
    backbone, trials, _ = search_tables("plain-8", 20)
    trials = trials.assign(relu_elements=1024 * trials["relus"])
    axes = accuracy_against_relus(trade_of(backbone, trials, cost="relu_elements")).axes[0]
    assert axes.get_xlabel() == "ReLU elements of an image"
    shown = {x for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata()}
    assert shown <= set(trials["relu_elements"])
    assert max(shown) > 1024
    axes = accuracy_against_relus(trade_of(backbone, trials)).axes[0]
    assert axes.get_xlabel().startswith("ReLUs kept")


def test_the_axis_of_latency_is_in_milliseconds_and_not_in_whole_numbers():
    backbone, trials, _ = search_tables("plain-8")
    trials["latency_ms"] = 0.5 + trials["relus"] / 10
    trade = trade_of(backbone, trials, "val_accuracy", "latency")
    (axes,) = accuracy_against_relus(trade).axes
    assert axes.get_xlabel() == "Latency of the folded network (ms)"
    assert {x for x, _ in map(trade.point, trade.marks)} == set(trials["latency_ms"])
    assert axes.get_xlim()[1] < 1.3


def test_the_floor_of_a_search_is_drawn():
    backbone, trials, _ = search_tables("plain-8")
    trials = trials.assign(relu_elements=1024 * trials["relus"])
    trade = trade_of(backbone, trials, "val_accuracy", "relu_elements", at_least_accuracy=0.4)
    floor = drawn_in(accuracy_against_relus(trade).axes[0])["asked for at least"]
    assert list(floor.get_ydata()) == [40, 40]
