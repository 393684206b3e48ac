"""Figures of every kind: drawn from any table, in plain text, equal for equal tables."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from helpers.confirmation_tables import confirm_table, verdict_table
from helpers.search_tables import search_figures, search_tables, text_of
from matplotlib import rcParams

from relu_search.analysis.leaderboard import ranked
from relu_search.report.accuracy_against_relus import accuracy_against_relus
from relu_search.report.confirmation_figures import confirmation_runs, verdict_forest
from relu_search.report.curves import learning_curves
from relu_search.report.figure_style import (
    label,
    log_scale,
    module_styles,
    modules_and_found,
    new_figure,
    rendered,
)
from relu_search.reproduce import figures as paper_figures
from relu_search.reproduce.agreement import ComparisonRow, Difference, Sample
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.single_relus import Influence
from relu_search.settings.metrics import METRICS

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]
MARKUP = re.compile(r"[$\\{}^<>]|math|&\w+;")


def paper_figures_of_made_up_runs():
    settings = ReproduceSettings(experiment="table1", data="digits", depths=(8, 14), seeds=2)
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


def test_no_figure_shows_markup():
    """Losses of 0.001 to 5,000, 0.2 to 7 and 1.1 to 1.8 have logarithmic axes of all kinds."""
    figures = paper_figures_of_made_up_runs()
    backbone, trials, epochs = search_tables("plain-8")
    for metric in (LOSS, ACCURACY):
        figures += search_figures(backbone, trials, epochs, metric).values()
    for low, high in ((1e-3, 5e3), (0.2, 7.0)):
        spread = epochs.assign(val_loss=np.geomspace(low, high, len(epochs)))
        figures.append(learning_curves(trials, spread, LOSS))
    runs = confirm_table()
    verdicts = verdict_table(runs)
    figures += [verdict_forest(verdicts, v) for v in ("paired", "2:1", "nobody")]
    figures += [confirmation_runs(runs, verdicts), confirmation_runs(runs[:0], verdicts)]
    assert len(figures) == 3 + 2 * 6 + 2 + 5
    for figure in figures:
        text = text_of(figure)
        assert text.strip()
        assert not MARKUP.search(text), text


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


@pytest.mark.parametrize(
    ("text", "shown"), [("$x^$", "$x^$"), ("a\nb\x00é", "a?b??"), ("y" * 40, "y" * 25 + "…")]
)
def test_any_text_can_stand_in_a_figure(text, shown):
    assert label(text) == shown
    trials = search_tables("plain-8", 2)[1]
    trials.loc[1, "module"] = text
    assert shown in text_of(accuracy_against_relus(trials, ACCURACY))


def test_each_placement_is_shown_once_in_the_order_of_the_leaderboard():
    trials = search_tables("plain-8", 9)[1]
    again = trials.tail(4).assign(trial=range(100, 104))
    trials = pd.concat([trials, again], ignore_index=True)
    modules, found = modules_and_found(trials, LOSS, 6)
    order = list(dict.fromkeys(ranked(trials, LOSS)["placement"]))
    for shown in (modules, found):
        places = [order.index(row["placement"]) for row in shown]
        assert places == sorted(set(places))
    assert len(modules) == 3
    assert len(found) == 6


def test_every_form_of_the_control_has_the_style_of_the_control_and_no_module_has_it():
    styles = module_styles(["paired", "2:1", "linear@drop-norm", "3:2/type1", "linear"])
    assert styles["linear@drop-norm"] == styles["linear"]
    others = [styles[name] for name in ("paired", "2:1", "3:2/type1")]
    assert styles["linear"] not in others
    assert len(set(map(repr, others))) == 3
