"""Figures of every kind: drawn from any table, in plain text, equal for equal tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.confirmation_tables import confirm_table, verdict_table
from helpers.figure_faults import drawn_texts, faults_of
from helpers.search_tables import config_of, search_figures, search_tables, text_of
from matplotlib import rcParams

from relu_search.analysis.leaderboard import ranked
from relu_search.charts.epoch_curves import curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.placement_rows import map_groups
from relu_search.report.confirmation_figures import confirmation_runs, verdict_forest
from relu_search.report.curves import learning_curves
from relu_search.report.figure_style import log_scale, new_figure, rendered
from relu_search.reproduce import figures as paper_figures
from relu_search.reproduce.agreement import ComparisonRow, Difference, Sample
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.single_relus import Influence
from relu_search.settings.metrics import METRICS

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]


def paper_figures_of_made_up_runs():
    settings = ReproduceSettings(
        experiment="table1", data="digits", depths=(8, 14, 20, 26), seeds=2
    )
    curves = pd.DataFrame(
        [
            (data, backbone.name, module, seed, epoch, 0.5 + 0.01 * epoch + 0.001 * seed)
            for data, backbone in settings.networks
            for module in settings.definition.modules
            for seed in range(2)
            for epoch in range(1, 4)
        ],
        columns=["data", "backbone", "module", "seed", "epoch", "test_accuracy"],
    )
    sample, gap = Sample(mean=70.0, std=1.0, n=5), Difference(value=1.0, low=-1.0, high=3.0)
    row = ComparisonRow(
        data="digits",
        backbone="plain-8",
        module="2:1",
        ours=sample,
        published=sample,
        our_difference=gap,
        published_difference=gap,
    )
    single = Influence(
        backbone="plain-8",
        site="blocks.0.relu1",
        block=1,
        position=1,
        n=3,
        difference=0.4,
        low=-0.2,
        high=1.0,
        noise=0.1,
    )
    return [
        paper_figures.curves(settings, curves),
        paper_figures.differences([row]),
        paper_figures.single_relus([single]),
    ]


@pytest.mark.parametrize(
    ("x", "text", "fault"),
    [
        (0.5, "$10^{3}$", "shows markup"),
        (0.5, "a &lt; b", "shows markup"),
        (0.98, "a long name", "leaves the canvas"),
        (0.15, "a name", "overlap"),
    ],
)
def test_faults_of_text_are_found(x, text, fault):
    figure = new_figure(2)
    figure.text(0.1, 0.5, "another name")
    assert faults_of(figure) == []
    figure.text(x, 0.5, text, parse_math=False)
    assert [line.split(":")[0] for line in faults_of(figure)] == [fault]


def figures_of(kind):
    """Losses of 0.001 to 5,000, 0.2 to 7 and 1.1 to 1.8 have logarithmic axes of all kinds."""
    backbone, trials, epochs = search_tables("plain-8")
    runs = confirm_table()
    verdicts = verdict_table(runs)
    match kind:
        case "paper":
            return paper_figures_of_made_up_runs()
        case "loss" | "accuracy":
            metric = METRICS[f"val_{kind}"]
            return [*search_figures(backbone, trials, epochs, metric).values()]
        case "logarithmic":
            marks = marks_of(trials, config_of(backbone))
            spread = [
                epochs.assign(val_loss=np.geomspace(low, high, len(epochs)))
                for low, high in ((1e-3, 5e3), (0.2, 7.0))
            ]
            return [learning_curves(curves_of(trials, wide, marks, LOSS)) for wide in spread]
    return [
        *(verdict_forest(verdicts, versus) for versus in ("paired", "2:1", "nobody")),
        *(confirmation_runs(some, verdicts) for some in (runs, runs[:0])),
    ]


@pytest.mark.parametrize(
    ("kind", "count"),
    [("paper", 3), ("loss", 6), ("accuracy", 6), ("logarithmic", 2), ("confirmation", 5)],
)
def test_the_text_of_no_figure_overlaps_leaves_the_canvas_or_shows_markup(kind, count):
    figures = figures_of(kind)
    assert len(figures) == count
    for figure in figures:
        assert drawn_texts(figure)
        assert faults_of(figure) == []


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.001, 5000, ["0.001", "0.1", "10", "1,000"]),
        (0.2, 7, ["0.2", "0.5", "1", "2", "5"]),
        (0.12, 0.18, ["0.12", "0.16"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(low, high, shown):
    figure = new_figure(3)
    axes = figure.add_subplot()
    axes.plot([1, 2], [low, high])
    log_scale(axes)
    axes.set_xticks([])
    assert axes.get_yscale() == "log"
    ticks = text_of(figure).splitlines()
    assert set(shown) <= set(ticks)
    assert sorted(map(float, (t.replace(",", "") for t in ticks))) == sorted(
        {float(t.replace(",", "")) for t in ticks}
    )


@pytest.mark.parametrize(
    ("name", "metric"),
    [("preresnet-bottleneck-20", ACCURACY), ("dfn-26", LOSS)],
    ids=["bottleneck-accuracy", "dfn-loss"],
)
def test_every_figure_of_a_search_is_drawn(name, metric):
    for figure in search_figures(*search_tables(name), metric).values():
        assert rendered(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("case", "metric"),
    [("stopped", ACCURACY), ("none", LOSS), ("one", LOSS), ("nan", ACCURACY), ("nan", LOSS)],
)
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
    figures = search_figures(backbone, trials, epochs, metric)
    assert all(rendered(figure, "png") for figure in figures.values())
    if case != "one":
        assert "to the end yet" in text_of(figures["accuracy"])


def test_figures_are_the_same_each_time_and_leave_the_style_alone():
    before = dict(rcParams)
    once, again = (
        [rendered(f, "svg") for f in search_figures(*search_tables("plain-8"), LOSS).values()]
        for _ in range(2)
    )
    assert once == again
    assert dict(rcParams) == before


def test_any_text_can_stand_in_a_figure():
    backbone, trials, epochs = search_tables("plain-8", 2)
    trials.loc[1, "module"] = "$x^$\x00é"
    for name, figure in search_figures(backbone, trials, epochs, ACCURACY).items():
        assert ("$x^$??" in text_of(figure)) == (name in ("accuracy", "curves", "map"))


def test_figures_show_each_placement_once_in_the_order_of_the_leaderboard():
    backbone, trials, epochs = search_tables("plain-8", 9)
    again = trials.tail(4).assign(trial=range(100, 104))
    trials = pd.concat([trials, again], ignore_index=True)
    order = list(dict.fromkeys(ranked(trials, LOSS)["placement"]))
    marks = marks_of(trials, config_of(backbone))
    assert [mark.placement for mark in marks] == order
    modules, found = map_groups(marks, backbone, 6)
    assert (len(modules), len(found)) == (3, 6)
    assert len(curves_of(trials, epochs, marks, LOSS).named) == 6
