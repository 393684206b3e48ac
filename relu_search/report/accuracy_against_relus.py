"""The metric of each placement against its number of ReLUs or their cost, with the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.analysis.estimates import estimates, full_length
from relu_search.analysis.pareto import pareto_front
from relu_search.ratios.best_ratio import BestRatio
from relu_search.report.figure_style import (
    FAINT,
    FOUND,
    GREY,
    VERMILLION,
    empty_figure,
    log_scale,
    named_placements,
    new_figure,
    styled,
)
from relu_search.settings.metrics import COLUMN_OF, CountedCost, Metric

AXES: dict[CountedCost, str] = {
    "relus": "ReLUs kept in the blocks",
    "relu_elements": "ReLU elements of an image",
    "latency": "Latency of the folded network (ms)",
}


@styled
def accuracy_against_relus(
    trials: pd.DataFrame, metric: Metric, cost: CountedCost = "relus"
) -> Figure:
    """The estimate of each placement against a cost, with the Pareto front.

    Bars are one standard deviation of the estimate, where it is known. Small crosses are the
    single runs.

    Args:
        trials: `trials.csv`; only full-length trials are drawn.
        metric: on the y axis.
        cost: on the x axis.
    """
    complete = full_length(trials, metric)
    if complete.empty:
        return empty_figure("No trial has trained to the end yet.")
    known = estimates(trials, metric)
    of_placement = complete.drop_duplicates("placement").set_index("placement")
    column, is_count = COLUMN_OF[cost], cost != "latency"
    cost_of = of_placement[column].reindex(known.index)
    values, sd = known["estimate"] * metric.factor, known["sd"] * metric.factor
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    if sd.notna().any():
        axes.errorbar(cost_of, values, sd, fmt="none", color=FAINT, linewidth=0.8, zorder=1)
        axes.plot([], [], color=FAINT, label="±1 sd of the estimate")
    runs = complete[complete["placement"].map(known["n"]) > 1]
    if len(runs):
        single = runs[metric.name] * metric.factor
        note = "single runs, if several"
        axes.plot(runs[column], single, "x", color=GREY, markersize=3, label=note, zorder=2)
    front = _front(cost_of, metric.sign * known["estimate"], values)
    end = max(cost_of.max(), front.index[-1] + (1 if is_count else 0))
    axes.step(
        [*front.index, end],
        [*front, front.iloc[-1]],
        where="post",
        color=VERMILLION,
        linewidth=1.2,
        label="Pareto front",
    )
    is_found = of_placement["module"].reindex(known.index) == ""
    axes.plot(
        cost_of[is_found],
        values[is_found],
        "o",
        color=VERMILLION,
        markerfacecolor="white",
        markersize=5,
        label=f"found placements (n = {is_found.sum()})",
    )
    notes = []
    for named in named_placements(trials, metric):
        if named.style not in FOUND[1:]:  # one star for the best found placement
            x, y = float(cost_of[named.placement]), float(values[named.placement])
            size = 13 if named.style is FOUND[0] else 8  # a star looks smaller than it is
            axes.plot(x, y, named.style.marker, color=named.style.color, markersize=size, zorder=4)
            notes.append((x, y, named.name))
    axes.margins(0.12, 0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=is_count))
    axes.set(xlabel=AXES[cost], ylabel=f"{metric.axis_label}, estimate")
    figure.legend(loc="outside upper left", ncols=4)
    on_front = np.linspace(front.index[0], end, 100)
    steps = front.to_numpy()[np.searchsorted(front.index, on_front, side="right") - 1]
    singles = zip(runs[column], runs[metric.name] * metric.factor, strict=True)
    obstacles = [*zip(cost_of, values, strict=True), *singles, *zip(on_front, steps, strict=True)]
    label_points(axes, notes, obstacles)
    return figure


@styled
def metric_against_ratio(trials: pd.DataFrame, found: BestRatio) -> Figure:
    """The estimate of the best placement of each ratio with its interval, and the modules.

    Args:
        trials: `trials.csv`.
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
    known = estimates(trials, metric)
    of_placement = full_length(trials, metric).drop_duplicates("placement").set_index("placement")
    notes = [(float(row.relus), row.estimate * metric.factor, row.ratio) for row in rows]
    for named in named_placements(trials, metric):
        if named.style not in FOUND:
            x = float(of_placement["relus"][named.placement])
            y = float(known["estimate"][named.placement]) * metric.factor
            axes.plot(x, y, named.style.marker, color=named.style.color, markersize=8, zorder=4)
            is_ratio = named.name in {row.ratio for row in rows}
            notes.append((x, y, f"{named.name} (hand-designed)" if is_ratio else named.name))
    axes.margins(0.1, 0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=AXES["relus"], ylabel=f"{metric.axis_label}, estimate")
    if metric.log and min(y for _, y, _ in notes) > 0:
        log_scale(axes)
    figure.legend(handles=[line, band, inside], loc="outside upper left", ncols=3)
    along = np.linspace(relus[0], relus[-1], 100)
    on_line = zip(along, np.interp(along, relus, middle), strict=True)
    label_points(axes, notes, [*((x, y) for x, y, _ in notes), *on_line])
    return figure


def _front(costs: pd.Series[Any], score: pd.Series[Any], values: pd.Series[Any]) -> pd.Series[Any]:
    """The values on the Pareto front; the index is the cost, rising."""
    is_on_front = pareto_front(costs, score)
    return values[is_on_front].groupby(costs[is_on_front]).first()


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
    taken: list[Any] = []
    for x, y, text in points:
        best: tuple[int, Any, Any] | None = None
        for dx, dy, ha, va in _OFFSETS:
            note = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8
            )
            box = note.get_window_extent(renderer).padded(2)
            cost = sum(box.overlaps(other) for other in taken) * 4
            cost += sum(box.contains(*mark) for mark in marks)
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
