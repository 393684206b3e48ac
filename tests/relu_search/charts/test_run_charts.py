"""The charts of a run: valid for Plotly, each placement once, no markup of a stranger."""

from __future__ import annotations

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from helpers.hostile import NASTY
from helpers.trial_tables import LINEAR, rows_like

from relu_search.charts.run_charts import charts_of
from search_spaces import Backbone, Placement, reference_modules
from search_spaces.drawing import KEPT, stage_bars

MODULES = [
    {"module": "paired", "placement": "1*6", "ratio": "1:1", "relus": 6, "val_loss": 0.9},
    {"module": "2:1", "placement": "01*3", "ratio": "2:1", "relus": 3, "val_loss": 0.4},
    LINEAR,
]
FOUND = [
    {"placement": text, "relus": text.count("1"), "val_loss": 0.5 + i / 50, "seed": seed}
    for i, text in enumerate(("110000", "100110", "000111", "101011", "111110"))
    for seed in range(7 if i == 0 else 1)
]
OBJECTIVES = [
    {"metric": "val_accuracy"},
    {"objective": "loss,relus"},
    {"objective": "accuracy,relu_elements,latency"},
    {"at_least_accuracy": 0.4},
    {"granularity": "site"},
]


def named(snapshot):
    return {chart.name: chart for chart in charts_of(snapshot)}


@pytest.mark.parametrize("options", OBJECTIVES, ids=str)
def test_plotly_itself_accepts_every_chart(options, snapshot_of):
    for rows in ([*MODULES, *FOUND], MODULES[:1], [{"state": "PRUNED", "epochs": 1}]):
        charts = charts_of(snapshot_of(rows_like(*rows), **options))
        assert len({chart.name for chart in charts}) == len(charts) >= 3
        for chart in charts:
            go.Figure(json.loads(json.dumps(chart.plotly, allow_nan=False)))
            assert re.fullmatch(r"[a-z0-9-]+", chart.name)
            assert chart.sentence.endswith(".")


@pytest.mark.parametrize("name", ["preresnet-20", "preresnet-bottleneck-20", "dfn-26", "plain-38"])
def test_every_family_has_charts(name, snapshot_of):
    backbone = Backbone.parse(name)
    rows = [
        {"module": module, "placement": placement.text, "relus": placement.kept}
        for module, placement in reference_modules(backbone).items()
    ]
    charts = named(snapshot_of(rows_like(*rows), name))
    z = charts["placement-map"].plotly["data"][0]["z"]
    assert sum(v is not None for row in z for v in row) == len(rows) * len(backbone.sites)
    assert sum(v or 0 for row in z for v in row) == sum(row["relus"] for row in rows)


def test_each_placement_is_one_mark_one_curve_and_one_row(snapshot_of):
    run = snapshot_of(rows_like(*MODULES, *FOUND))
    charts = named(run)
    distinct = {Placement.parse(row["placement"]).bits for row in [*MODULES, *FOUND]}
    marks = [
        text for trace in charts["accuracy-relus"].plotly["data"] for text in trace.get("text", ())
    ]
    assert len(marks) == len(set(marks)) == len(distinct)
    curves = charts["learning-curves"].plotly["data"]
    lines = [c for c in curves if c.get("hoverinfo") == "name+x+y"]
    (faint,) = [c for c in curves if c["name"] == "other placements"]
    assert len(lines) + faint["x"].count(None) == len(distinct)
    assert len(charts["placement-map"].plotly["layout"]["yaxis"]["ticktext"]) == len(distinct)


def test_a_curve_is_the_mean_of_its_seeds_and_these_are_faint(snapshot_of):
    rows = [{"placement": "01*3", "val_accuracy": a, "val_loss": a} for a in (0.3, 0.6, 0.6)]
    curves = named(snapshot_of(rows_like(*rows)))["learning-curves"].plotly["data"]
    (mean,) = [c for c in curves if c.get("hoverinfo") == "name+x+y"]
    assert mean["name"] == "found 1: 01*3 (n = 3)"
    assert np.allclose(mean["y"], [0.5 + 1 / e for e in (1, 2, 3)])
    (faint,) = [c for c in curves if c is not mean]
    assert faint["y"].count(None) == 3
    assert faint["legendgroup"] == mean["legendgroup"]


def test_the_stopped_seeds_of_a_placement_are_not_in_its_curve(snapshot_of):
    stopped = {"placement": "01*3", "state": "PRUNED", "epochs": 2, "val_loss": 9.0}
    run = snapshot_of(rows_like({"placement": "01*3", "val_loss": 0.5}, stopped))
    (curve,) = named(run)["learning-curves"].plotly["data"]
    assert np.allclose(curve["y"], [0.5 + 1 / e for e in (1, 2, 3)])


def test_a_hover_has_the_seeds_and_the_drawing_of_the_placement(snapshot_of):
    run = snapshot_of(rows_like(*MODULES, *FOUND))
    data = named(run)["accuracy-relus"].plotly["data"]
    (text,) = [t for trace in data for t in trace.get("text", ()) if "110000" in t]
    assert "7 seeds to the end, mean 0.500" in text
    for bar in stage_bars(run.config.network, Placement("110000")):
        assert bar in text
    assert text.count(KEPT) == 2


@pytest.mark.parametrize(
    "text", [*NASTY, "<a href='http://x.example'>x</a>", "%{x}", "$x$", "&lt;b"]
)
def test_a_name_of_a_stranger_is_never_markup(text, snapshot_of):
    rows = rows_like({**MODULES[0], "module": text[:60], "ratio": text[:60]}, MODULES[1])
    for chart in charts_of(snapshot_of(rows)):
        strings = list(strings_in(chart.plotly))
        assert strings
        for shown in strings:
            assert not re.sub(r"<br>|</?b>|</?i>", "", shown).count("<"), shown
            assert shown.isprintable()


def test_many_placements_are_few_traces_of_bounded_size(snapshot_of):
    rng = np.random.default_rng(0)
    rows = [
        {"placement": "".join(map(str, rng.integers(0, 2, 18))), "val_loss": 1 + i / 900}
        for i in range(900)
    ]
    run = snapshot_of(rows_like(*rows), "preresnet-20")
    charts = named(run)
    assert max(len(chart.plotly["data"]) for chart in charts.values()) <= 10
    (faint,) = [
        c for c in charts["learning-curves"].plotly["data"] if c["name"] == "other placements"
    ]
    assert faint["x"].count(None) <= 200
    assert "other placements (1" in charts["learning-curves"].sentence
    assert len(charts["placement-map"].plotly["layout"]["yaxis"]["ticktext"]) == 20


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)
