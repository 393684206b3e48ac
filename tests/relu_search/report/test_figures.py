"""Figures are drawn for every family and for tables that are nearly empty; texts stay apart."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.confirmation_tables import confirm_table, verdict_table
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from relu_search.analysis.rank_agreement import rank_correlation
from relu_search.analysis.site_effects import site_influence
from relu_search.report.confirmation_figures import confirmation_runs, points, verdict_forest
from relu_search.report.figure_style import label, label_points, rendered
from relu_search.report.search_figures import (
    MapRow,
    accuracy_against_relus,
    influence_of_sites,
    learning_curves,
    placement_map,
    rung_correlation,
)
from search_spaces import Backbone, Placement, reference_modules

METRICS = ("val_accuracy", "val_loss")
NETS = (
    *("plain-20", "preplain-20", "resnet-20", "preresnet-20", "preresnet-bottleneck-20"),
    *("dfn-26", "plain-110"),
)


def text_of(figure: Figure) -> str:
    """All text of a figure, its legends' titles and entries included."""
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def search_tables(name: str, found: int = 12, state: str = "COMPLETE"):
    """A backbone, and trials and epochs of a made-up search over three epochs in it."""
    backbone = Backbone.parse(name, 8)
    rng = np.random.default_rng(3)
    placements = list(reference_modules(backbone).items())
    for _ in range(found):
        bits = rng.integers(0, 2, len(backbone.sites))
        placements.append(("", Placement("".join(map(str, bits)))))
    trials, epochs = [], []
    for i, (module, placement) in enumerate(placements):
        accuracy = np.sort(rng.uniform(0.2, 0.9, 3))
        for epoch, value in enumerate(accuracy, start=1):
            row = {"trial": i, "epoch": epoch, "val_accuracy": value, "val_loss": 2 - value}
            epochs.append(row)
        trials.append(
            {
                "trial": i,
                "state": state,
                "module": module,
                "placement": placement.text,
                "relus": placement.kept,
                "epochs": 3,
                "val_accuracy": accuracy[-1],
                "val_loss": 2 - accuracy[-1],
            }
        )
    return backbone, pd.DataFrame(trials), pd.DataFrame(epochs)


def all_figures(backbone, trials, epochs, metric):
    correlation = rank_correlation(trials, epochs, metric, resamples=50)
    return [
        learning_curves(trials, epochs, metric),
        accuracy_against_relus(trials, metric, 250),
        influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
        rung_correlation(correlation, 1),
    ]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["plain-8", "preresnet-bottleneck-20", "dfn-26"])
def test_every_figure_of_a_search_is_drawn(name, metric):
    for figure in all_figures(*search_tables(name), metric):
        assert rendered(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NETS)
def test_a_placement_map_has_a_box_per_site(name):
    backbone = Backbone.parse(name)
    modules = [MapRow(n, p, "90.0 %") for n, p in reference_modules(backbone).items()]
    figure = placement_map(backbone, [modules, modules[:1]])
    assert rendered(figure, "svg")
    axes = figure.axes[0]
    boxes = [c for c in axes.collections if isinstance(c, PatchCollection)]
    rows = [*modules, modules[0]]
    kept = sum(row.placement.kept for row in rows)
    total = len(rows) * len(backbone.sites)
    assert [len(c.get_paths()) for c in boxes] == [kept, total - kept]
    corners = {tuple(p.vertices.min(axis=0).round(3)) for c in boxes for p in c.get_paths()}
    assert len(corners) == total  # none hides another


def test_the_joint_relu_of_a_dfn_lies_in_a_lane_of_its_own():
    backbone = Backbone.parse("dfn-14")
    kept = Placement("1" * len(backbone.sites))
    axes = placement_map(backbone, [[MapRow("paired", kept, "")]]).axes[0]
    box = axes.collections[0].get_paths()
    last = sorted(float(p.vertices[:, 1].min().round()) for p in box[-3:])
    assert last == [0, 2, 3]


@pytest.mark.parametrize("case", ["stopped", "none", "one", "nan"])
@pytest.mark.parametrize("metric", METRICS)
def test_scarce_tables_are_drawn(case, metric):
    backbone, trials, epochs = search_tables(
        "plain-8", 3, "PRUNED" if case == "stopped" else "COMPLETE"
    )
    if case in ("none", "one"):
        keep = int(case == "one")
        trials, epochs = trials[:keep], epochs[: 3 * keep]
    if case == "nan":
        trials[[*METRICS]] = math.nan
        epochs[[*METRICS]] = math.nan
    figures = all_figures(backbone, trials, epochs, metric)
    assert all(rendered(figure, "png") for figure in figures)
    if case != "one":
        assert "to the end yet" in text_of(figures[1])


def test_an_empty_map_says_so():
    assert "No placement" in text_of(placement_map(Backbone.parse("plain-8"), [[], []]))


def test_figures_are_the_same_each_time_and_leave_the_style_alone():
    before = dict(rcParams)
    once, again = (
        [rendered(f, "svg") for f in all_figures(*search_tables("plain-8"), "val_accuracy")]
        for _ in range(2)
    )
    assert once == again
    assert dict(rcParams) == before


def test_a_weak_rank_correlation_is_marked():
    table = pd.DataFrame({"epoch": [1], "n": [20], "rho": [0.2], "low": [-0.2], "high": [0.5]})
    assert "WARNING" in text_of(rung_correlation(table, 1))
    assert "WARNING" not in text_of(rung_correlation(table.assign(rho=0.9, high=1), 1))
    assert "too few" in text_of(rung_correlation(table.assign(n=5), 1))


def test_labels_avoid_each_other():
    figure = Figure()
    axes = figure.add_subplot()
    where = [(0.5, 0.5), (0.5, 0.51), (0.52, 0.5), (0.5, 0.5)]
    label_points(axes, [(x, y, f"a name {i}") for i, (x, y) in enumerate(where)], where)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("text", "shown"), [("$x^$", "$x^$"), ("a\nb\x00é", "a?b??"), ("y" * 40, "y" * 25 + "…")]
)
def test_any_text_can_stand_in_a_figure(text, shown):
    assert label(text) == shown
    trials = search_tables("plain-8", 2)[1]
    trials.loc[1, "module"] = text
    assert rendered(accuracy_against_relus(trials, "val_accuracy"), "svg")


# --- confirmation -----------------------------------------------------------------------------


def test_the_forest_has_a_row_and_a_verdict_per_arm():
    verdicts = verdict_table(confirm_table())
    figure = verdict_forest(verdicts, "paired")
    assert rendered(figure, "pdf")
    text = text_of(figure)
    for word in ("2:1", "found 1", "linear", "better", "worse", "1 diverged", "n = 5"):
        assert word in text
    row = verdicts[(verdicts["arm"] == "2:1") & (verdicts["versus"] == "paired")].iloc[0]
    assert f"{100 * row['difference']:+.2f}" in text
    assert "equivalent within ±0.3 points" in text
    assert "No arm" in text_of(verdict_forest(verdicts, "nobody"))


def test_a_verdict_without_intervals_is_drawn():
    verdicts = verdict_table(confirm_table())
    verdicts[["t_low", "t_high", "bca_low", "bca_high", "difference"]] = math.nan
    verdicts["verdict"] = "a word of a later version"
    assert rendered(verdict_forest(verdicts, "paired"), "png")


def test_every_run_of_a_confirmation_is_a_dot():
    runs = confirm_table()
    figure = confirmation_runs(runs, verdict_table(runs))
    assert rendered(figure, "png")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == 29
    assert "1 diverged" in text_of(figure)
    said = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    assert len(said) == 2
    assert "No confirmation" in text_of(confirmation_runs(runs[:0], verdict_table(runs)))


def test_points_are_signed_percentages():
    assert [points(0.0123), points(-0.5), points(math.nan)] == ["+1.23", "−50.00", "-"]
