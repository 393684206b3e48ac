"""The metric of each placement against its number of ReLUs or their cost, with the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from relu_search.charts.chart import COST_AXES
from relu_search.charts.placement_marks import Mark
from relu_search.charts.series import FOUND, VERMILLION, named_series
from relu_search.charts.trade_off import TradeOff
from relu_search.ratios.best_ratio import BestRatio
from relu_search.report.figure_style import (
    FAINT,
    GREY,
    empty_figure,
    log_scale,
    new_figure,
    styled,
)

_BAR = "#9a9a9a"


@styled
def accuracy_against_relus(trade: TradeOff) -> Figure:
    """The estimate of each placement against a cost, with the Pareto front.

    Bars are one standard deviation of the estimate, where it is known. Small crosses are the
    single runs.
    """
    if not trade.marks:
        return empty_figure("No trial has trained to the end yet.")
    is_count = trade.cost != "latency"
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    if singles := trade.singles():
        note = "single runs, if several"
        axes.plot(*_xy(singles), "x", color=FAINT, markersize=3, label=note, zorder=2)
    if steps := trade.steps():
        look: dict[str, Any] = {"color": VERMILLION, "linewidth": 1.2}
        axes.step(*_xy(steps), where="post", label="best for its cost", **look)
    named = named_series(trade.marks)
    in_legend = {series.mark.placement for series in named}
    others = [mark for mark in trade.marks if mark.placement not in in_legend]
    barred = trade.barred(others) + [series.mark for series in named]
    for mark in barred:
        if mark.sd is not None:
            reach = mark.sd * trade.metric.factor
            axes.errorbar(*trade.point(mark), reach, color=_BAR, linewidth=0.9, zorder=1)
    if any(mark.sd is not None for mark in barred):
        axes.plot([], [], color=_BAR, label="±1 sd of the estimate")
    if others:
        look = {"color": VERMILLION, "markerfacecolor": "white", "markersize": 5}
        more = f"other placements (n = {len(others)})"
        axes.plot(*_xy([trade.point(mark) for mark in others]), "o", label=more, **look)
    for series in named:
        look = {"color": series.style.color, "zorder": 4}
        size = 13 if series.style is FOUND[0] else 8  # a star looks smaller than it is
        axes.plot(*trade.point(series.mark), series.style.marker, markersize=size, **look)
    if trade.floor is not None:
        floor = trade.floor * trade.metric.factor
        axes.axhline(floor, color=GREY, linestyle="--", linewidth=1, label="asked for at least")
    axes.margins(0.12, 0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=is_count))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set(xlabel=COST_AXES[trade.cost], ylabel=trade.y_title)
    if trade.is_log:
        log_scale(axes)
    figure.legend(loc="outside upper left", ncols=4)
    corners = np.array(steps)
    along = np.linspace(corners[0, 0], corners[-1, 0], 100) if steps else np.empty(0)
    heights = corners[np.searchsorted(corners[:-1, 0], along, side="right") - 1, 1] if steps else []
    points = [trade.point(mark) for mark in trade.marks]
    obstacles = [*points, *singles, *zip(along, heights, strict=True)]
    label_points(axes, [(*trade.point(s.mark), s.name) for s in named], obstacles)
    return figure


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    x, y = zip(*points, strict=True)
    return list(x), list(y)


@styled
def metric_against_ratio(marks: Sequence[Mark], found: BestRatio) -> Figure:
    """The estimate of the best placement of each ratio with its interval, and the modules.

    Args:
        marks: of all placements, best first.
        found: what the search says of its ratios.
    """
    metric = found.metric
    rows = [row for row in reversed(found.rows) if row.low is not None]
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    relus = [row.relus for row in rows]
    low, middle, high = (
        [float(getattr(row, name)) * metric.factor for row in rows]
        for name in ("low", "estimate", "high")
    )
    band = axes.fill_between(relus, low, high, color=FAINT, alpha=0.5, label="95 % interval")
    (line,) = axes.plot(relus, middle, "o-", color=VERMILLION, label="best placement of the ratio")
    together = [(row.relus, row.estimate * metric.factor) for row in rows if row.in_set]
    (inside,) = axes.plot(
        *zip(*together, strict=True),
        "s",
        color=VERMILLION,
        markerfacecolor="none",
        markersize=11,
        label="cannot be told apart from the best",
    )
    notes = [(float(row.relus), row.estimate * metric.factor, row.ratio) for row in rows]
    for series in named_series(marks):
        if series.mark.module:
            x, y = series.mark.costs["relus"], series.mark.estimate * metric.factor
            look: dict[str, Any] = {"color": series.style.color, "markersize": 8, "zorder": 4}
            axes.plot(x, y, series.style.marker, **look)
            is_ratio = series.name in {row.ratio for row in rows}
            notes.append((x, y, f"{series.name} (hand-designed)" if is_ratio else series.name))
    axes.margins(0.1, 0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=COST_AXES["relus"], ylabel=f"{metric.axis_label}, estimate")
    if metric.log and min(y for _, y, _ in notes) > 0:
        log_scale(axes)
    figure.legend(handles=[line, band, inside], loc="outside upper left", ncols=3)
    along = np.linspace(relus[0], relus[-1], 100)
    on_line = zip(along, np.interp(along, relus, middle), strict=True)
    label_points(axes, notes, [*((x, y) for x, y, _ in notes), *on_line])
    return figure


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str]], obstacles: Sequence[tuple[float, float]]
) -> None:
    """Write a text beside each point, at a place where it covers no other text and no obstacle.

    Call this last: the free places depend on the limits and the layout. If no place is free, the
    text goes where it covers least. adjustText was tried instead: over 28 figures its texts covered
    points in 5 of them (these texts in none), and they lay on the markers that they name.

    Args:
        axes: where to write.
        points: x, y and text, in data units.
        obstacles: x and y of what no text may cover, in data units.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas: Any = FigureCanvasAgg(figure)  # its methods are not typed
    canvas.draw()
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    marks = [axes.transData.transform(obstacle) for obstacle in obstacles]
    radius = 4  # pixels of a mark
    taken: list[Any] = []
    for x, y, text in points:
        best: tuple[int, Any, Any] | None = None
        for dx, dy, ha, va in _OFFSETS:
            note = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8
            )
            box = note.get_window_extent(renderer).padded(2)
            cost = sum(box.overlaps(other) for other in taken) * 4
            cost += sum(box.padded(radius).contains(*mark) for mark in marks)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            cost += 8 * (not (inside and frame.y0 <= box.y0 and box.y1 <= frame.y1))
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, note, box)
            else:
                note.remove()
            if best[0] == 0:
                break
        if best is not None:
            taken.append(best[2])


_OFFSETS = tuple(
    (
        dx * reach,
        dy * reach,
        ("right", "center", "left")[dx + 1],
        ("top", "center", "bottom")[dy + 1],
    )
    for reach in (8, 16, 28, 42)
    for dx, dy in ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
)
