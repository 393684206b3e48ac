"""The metric of each placement against a cost, with the front of what is best for its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relu_search.charts.chart import (
    COST_AXES,
    FAINT,
    SHADE,
    Chart,
    capital,
    empty,
    layout,
    metric_axis,
    plotly_text,
)
from relu_search.charts.hover import mark_hover
from relu_search.charts.placement_marks import Mark, front_of
from relu_search.charts.series import VERMILLION, named_series
from relu_search.settings.metrics import CountedCost, Metric
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Architecture

COST_WORDS: dict[CountedCost, str] = {
    "relus": "ReLUs kept",
    "relu_elements": "ReLU elements",
    "latency": "latency",
}
MOST_BARS = 300
"""With more placements, only the named ones have bars: thousands of bars hide the marks."""


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """A metric against a cost.

    Attributes:
        metric: on the y axis.
        cost: on the x axis.
        marks: of all placements, best first.
        front: those that are the best for their cost, cheapest first.
        floor: least accuracy that the search asks for, in 0 to 1, or None.
    """

    metric: Metric
    cost: CountedCost
    marks: Sequence[Mark]
    front: Sequence[Mark]
    floor: float | None

    @classmethod
    def of(cls, marks: Sequence[Mark], config: ResolvedConfig, cost: CountedCost) -> TradeOff:
        """From the marks of a run."""
        known = [mark for mark in marks if math.isfinite(mark.costs.get(cost, math.nan))]
        return cls(
            metric=config.optimised,
            cost=cost,
            marks=known,
            front=front_of(known, config.optimised, cost),
            floor=config.at_least_accuracy,
        )

    @property
    def name(self) -> str:
        """Of the chart and of its files."""
        return f"accuracy-{self.cost}".replace("_", "-")

    @property
    def title(self) -> str:
        """Such as `Validation loss against ReLUs kept`."""
        return f"{capital(self.metric.title)} against {COST_WORDS[self.cost]}"

    @property
    def sentence(self) -> str:
        """What the chart shows."""
        better = "higher" if self.metric.higher_is_better else "lower"
        much = "much" if self.cost == "latency" else "many"
        notes = ["bar: one standard deviation"] if self._has_bars else []
        notes += ["faint crosses: its single runs, where it has several"] if self._repeats else []
        notes += ["dashed line: the accuracy asked for"] if self.floor is not None else []
        in_brackets = f" ({'; '.join(notes)})" if notes else ""
        return (
            f"Each mark is one placement at its estimated {self.metric.title}{in_brackets}; "
            f"{better} is better, and the line joins the best placements with at most so {much} "
            f"{COST_WORDS[self.cost]}, within the limits of the search."
        )

    @property
    def y_title(self) -> str:
        """Of the axis of the metric."""
        return f"{capital(self.metric.axis_label)}, estimate"

    @property
    def is_log(self) -> bool:
        """Whether the axis of the metric is logarithmic: where ratios count, above zero."""
        lowest = [min(mark.estimate - (mark.sd or 0), *mark.runs) for mark in self.marks]
        return self.metric.log and min(lowest, default=0) > 0

    @property
    def _has_bars(self) -> bool:
        return any(mark.sd is not None for mark in self.marks)

    @property
    def _repeats(self) -> bool:
        return any(len(mark.runs) > 1 for mark in self.marks)

    def point(self, mark: Mark) -> tuple[float, float]:
        """Cost and estimate of a placement, as people read them."""
        return mark.costs[self.cost], mark.estimate * self.metric.factor

    def singles(self) -> list[tuple[float, float]]:
        """Cost and metric of every run of the placements that have several."""
        return [
            (mark.costs[self.cost], run * self.metric.factor)
            for mark in self.marks
            if len(mark.runs) > 1
            for run in mark.runs
        ]

    def barred(self, others: Sequence[Mark]) -> list[Mark]:
        """Those of the placements without a name that have a bar: all, or none of very many."""
        return list(others) if len(others) <= MOST_BARS else []

    def bars(self, marks: Sequence[Mark]) -> dict[str, Any]:
        """One standard deviation of the estimate to each side, as Plotly has it."""
        if all(mark.sd is None for mark in marks):
            return {}
        reach = [None if mark.sd is None else mark.sd * self.metric.factor for mark in marks]
        return {"error_y": {"array": reach, "color": SHADE, "thickness": 1.2, "width": 2}}

    def steps(self) -> list[tuple[float, float]]:
        """Corners of the front; the last step goes to the most expensive placement."""
        corners = [self.point(mark) for mark in self.front]
        if corners:
            end = max(mark.costs[self.cost] for mark in self.marks)
            corners.append((max(end, corners[-1][0]), corners[-1][1]))
        return corners


def trade_off_chart(trade: TradeOff, backbone: Architecture) -> Chart:
    """The trade-off as a chart: named placements have a series of their own."""
    named = named_series(trade.marks)
    of_legend = {series.mark.placement for series in named}
    others = [mark for mark in trade.marks if mark.placement not in of_legend]
    data: list[dict[str, Any]] = []
    if singles := trade.singles():
        look = {"color": FAINT, "symbol": "x-thin", "size": 6, "line": {"width": 1, "color": FAINT}}
        data.append(_points(singles, name="single runs", marker=look, hoverinfo="skip"))
    if others:
        look = {"color": "rgba(0, 0, 0, 0)", "line": {"color": VERMILLION, "width": 1.4}, "size": 8}
        bars = trade.bars(trade.barred(others))
        points = [trade.point(mark) for mark in others]
        hover = _hover(others, backbone, trade)
        data.append(_points(points, name="other placements", marker=look, **hover, **bars))
    if steps := trade.steps():
        line = {"shape": "hv", "color": VERMILLION, "width": 1.6}
        front = _points(steps, name="best for its cost", line=line, hoverinfo="skip")
        data.append(front | {"mode": "lines"})
    for series in named:
        size = 15 if series.style.marker == "*" else 11
        look = {"color": series.style.color, "symbol": series.style.symbol, "size": size}
        hover = _hover([series.mark], backbone, trade)
        bars = trade.bars([series.mark])
        name = plotly_text(series.name)
        data.append(_points([trade.point(series.mark)], name=name, marker=look, **hover, **bars))
    if not trade.marks:
        plotly = empty("No trial has trained to the end yet.")
    else:
        shapes = [] if trade.floor is None else [_floor_line(trade.floor * trade.metric.factor)]
        axes = {
            "x": {"title": COST_AXES[trade.cost], "tickformat": ",~r", "zeroline": False},
            "y": metric_axis(trade.y_title, is_log=trade.is_log),
        }
        plotly = {"data": data, "layout": layout(**axes, shapes=shapes)}
    return Chart(name=trade.name, title=trade.title, sentence=trade.sentence, plotly=plotly)


def _points(points: Sequence[tuple[float, float]], **more: Any) -> dict[str, Any]:
    x, y = zip(*points, strict=True)
    return {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), **more}


def _hover(marks: Sequence[Mark], backbone: Architecture, trade: TradeOff) -> dict[str, Any]:
    texts = [mark_hover(mark, backbone, trade.metric, trade.cost) for mark in marks]
    return {"text": texts, "hoverinfo": "text"}


def _floor_line(height: float) -> dict[str, Any]:
    line = {"color": SHADE, "width": 1.5, "dash": "dash"}
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": height,
        "y1": height,
        "line": line,
    }
