"""A chart as plain data: title, one sentence, and the JSON that Plotly draws.

Plotly reads a few elements of HTML in the texts that it shows. So every text that may come from a
run folder goes through `plotly_text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from relu_search.settings.metrics import CountedCost

COST_AXES: dict[CountedCost, str] = {
    "relus": "ReLUs kept in the blocks",
    "relu_elements": "ReLU elements of an image",
    "latency": "Latency of the folded network (ms)",
}
"""Titles of the axes of costs, with their units."""
SHADE = "rgba(128, 128, 128, 0.4)"
FAINT = "rgba(128, 128, 128, 0.7)"
"""Of bars and of single runs; both can be seen on white and on black."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One interactive chart.

    Attributes:
        name: letters, digits and hyphens, different for each chart of a run.
        title: a few words; plain text.
        sentence: what a newcomer sees in the chart; plain text, to be escaped by the page.
        plotly: `data` and `layout`, JSON values. The colours of traces can be seen on a light and
            on a dark page. Those of texts, lines of the grid and hover labels are left to the page.
    """

    name: str
    title: str
    sentence: str
    plotly: Mapping[str, Any]


def plotly_text(text: str) -> str:
    """Text that Plotly shows as it is: no element, no control character."""
    legal = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return str(escape(legal))


def lines(*parts: str) -> str:
    """Parts that Plotly shows below each other; empty ones are left out."""
    return "<br>".join(part for part in parts if part)


def layout(*, x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What the layouts of all charts share; `x` and `y` are the axes, their titles as text."""
    axes = {
        f"{name}axis": {**axis, "title": {"text": axis["title"], "standoff": 8}, "automargin": True}
        for name, axis in (("x", x), ("y", y))
    }
    return {
        **axes,
        "height": 440,
        "margin": {"l": 10, "r": 14, "t": 10, "b": 10},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"family": "monospace", "size": 12}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        **more,
    }


def empty(reason: str) -> dict[str, Any]:
    """The Plotly JSON of a chart that has nothing to show yet."""
    note = {"text": plotly_text(reason), "showarrow": False, "xref": "paper", "yref": "paper"}
    return {
        "data": [],
        "layout": {
            "height": 120,
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
            "paper_bgcolor": "rgba(0, 0, 0, 0)",
            "plot_bgcolor": "rgba(0, 0, 0, 0)",
            "annotations": [{**note, "x": 0.5, "y": 0.5}],
        },
    }


def metric_axis(title: str, *, is_log: bool) -> dict[str, Any]:
    """The axis of a metric; a logarithmic one has plain numbers."""
    return {"title": title} | ({"type": "log", "tickformat": ",~g"} if is_log else {})


def capital(text: str) -> str:
    """The text with a capital letter first."""
    return text[:1].upper() + text[1:]
