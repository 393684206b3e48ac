"""The placement map: which ReLU sites each placement keeps, one row per placement."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from relu_search.charts.chart import Chart, empty, layout, lines, plotly_text
from relu_search.charts.placement_marks import Mark
from relu_search.charts.series import BLUE, MID_GREY, label
from relu_search.settings.metrics import Metric
from search_spaces import Architecture, Placement

MAPPED = 8
"""Found placements in the figure."""
CHARTED = 20
"""Found placements in the chart."""


@dataclass(frozen=True)
class MapRow:
    """One row of a placement map: its name and its estimate."""

    name: str
    placement: Placement
    value: str


def map_groups(
    marks: Sequence[Mark], backbone: Architecture, found: int = MAPPED
) -> list[list[MapRow]]:
    """The hand-designed modules, and the best found placements; each placement once, best first.

    Raises:
        InputError: a placement does not fit the backbone.
    """

    def row_of(mark: Mark) -> MapRow:
        placement = Placement.parse(mark.placement)
        backbone.check(placement)
        return MapRow(mark.name, placement, mark.value)

    modules = [mark for mark in marks if mark.module]
    others = [mark for mark in marks if not mark.module][:found]
    return [[row_of(mark) for mark in group] for group in (modules, others)]


def map_sentence(metric: Metric) -> str:
    """What the map shows."""
    return (
        "Each row is one placement, from the input of the network at the left to its output at the "
        "right: a filled box is a ReLU that is kept, an empty one a ReLU that is dropped. "
        "Hand-designed modules come first, then the best found placements, each with its estimated "
        f"{metric.title} (± one standard deviation). Dashed lines separate the stages."
    )


def map_chart(groups: Sequence[Sequence[MapRow]], backbone: Architecture, metric: Metric) -> Chart:
    """The map as a chart."""
    rows = [row for group in groups for row in group]
    chart = Chart(
        name="placement-map",
        title="Placement map",
        sentence=map_sentence(metric),
        plotly=empty("No trial has trained to the end yet."),
    )
    return chart if not rows else replace(chart, plotly=_heat_map(groups, backbone))


_DROPPED = "rgba(128, 128, 128, 0.22)"
_UNIT = 21  # pixels of a row of the heat map that has height 1


def _heat_map(groups: Sequence[Sequence[MapRow]], backbone: Architecture) -> dict[str, Any]:
    """One row of cells per placement and row of `backbone.cells`, with gaps between placements."""
    cells, blocks = backbone.cells, sum(backbone.blocks_per_stage)
    lanes = 1 + max(lane for _, lane in cells)
    height = {1: 1.0, 2: 0.72}.get(lanes, 0.56)
    edges, z, texts, ticks = [0.0], [], [], []
    for group in groups:
        for row in group:
            ticks.append(edges[-1] + lanes * height / 2)
            colors: list[list[int | None]] = [[None] * blocks for _ in range(lanes)]
            words = [[""] * blocks for _ in range(lanes)]
            for keeps, (block, lane), site in zip(
                row.placement, cells, backbone.sites, strict=True
            ):
                colors[lane][block] = int(keeps)
                words[lane][block] = lines(
                    f"<b>{plotly_text(label(row.name, 40))}</b>",
                    plotly_text(f"{site.name}: {'kept' if keeps else 'dropped'}"),
                )
            edges += [edges[-1] + height * (lane + 1) for lane in range(lanes)]
            z += [*colors, [None] * blocks]
            texts += [*words, [""] * blocks]
            edges.append(edges[-1] + 0.55)
        edges[-1] += 0.6
    names = [
        lines(plotly_text(label(row.name, 16)), f"<i>{plotly_text(row.value)}</i>")
        for group in groups
        for row in group
    ]
    trace = {
        "type": "heatmap",
        "x": [block + 0.5 for block in range(blocks + 1)],
        "y": edges,
        "z": z,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, _DROPPED], [1, BLUE]],
        "showscale": False,
        "xgap": 2 if blocks <= 60 else 1,
        "ygap": 1,
        "text": texts,
        "hoverinfo": "text",
        "hoverongaps": False,
    }
    what = "Convolution" if lanes == 1 else "Block"
    y = {
        "title": "",
        "tickvals": ticks,
        "ticktext": names,
        "range": [edges[-1], -0.1],
        "showgrid": False,
        "zeroline": False,
    }
    x = {
        "title": what,
        "showgrid": False,
        "zeroline": False,
        "tickformat": "d",
        "range": [0.4, blocks + 0.6],
    }
    more = {"shapes": _borders(backbone), "annotations": _stage_names(backbone)}
    return {
        "data": [trace],
        "layout": layout(x=x, y=y, **more)
        | {"height": round(90 + _UNIT * edges[-1]), "margin": {"l": 10, "r": 14, "t": 28, "b": 10}},
    }


def _starts(backbone: Architecture) -> list[float]:
    """Where each stage starts on the x axis, and where the last one ends."""
    starts = [0.5]
    for count in backbone.blocks_per_stage:
        starts.append(starts[-1] + count)
    return starts


def _borders(backbone: Architecture) -> list[dict[str, Any]]:
    line = {"color": MID_GREY, "width": 1.5, "dash": "dash"}
    return [
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        for x in _starts(backbone)[1:-1]
    ]


def _stage_names(backbone: Architecture) -> list[dict[str, Any]]:
    starts = _starts(backbone)
    return [
        {
            "text": f"stage {stage}" if stage == 1 else str(stage),
            "x": (low + high) / 2,
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
        }
        for stage, (low, high) in enumerate(itertools.pairwise(starts), start=1)
    ]
