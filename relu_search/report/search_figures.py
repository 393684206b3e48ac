"""Figures of a search: each one function from tables to a `matplotlib.figure.Figure`.

`trials` and `epochs` are the tables of a run folder; `metric` is `val_accuracy` or `val_loss`.
Nothing here is global: no pyplot, no current figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from relu_search.analysis.estimates import full_length
from relu_search.analysis.leaderboard import ranked
from relu_search.analysis.pareto import pareto_front
from relu_search.analysis.rank_agreement import FEWEST_TO_RANK, WEAK_CORRELATION, grace_warning
from relu_search.report.figure_style import (
    BLACK,
    BLUE,
    FAINT,
    FOUND,
    GREY,
    VERMILLION,
    Style,
    empty_figure,
    label,
    label_points,
    module_label,
    module_styles,
    new_figure,
    styled,
)
from relu_search.settings.metrics import METRICS, Metric
from search_spaces import Backbone, Placement


@styled
def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, metric: str) -> Figure:
    """The metric after each epoch: modules, control and the best three found; the others faint."""
    scale = METRICS[metric]
    curves: dict[Any, pd.Series[Any]] = {
        trial: rows.set_index("epoch")[metric].sort_index() * scale.factor
        for trial, rows in epochs.dropna(subset=[metric]).groupby("trial")
    }
    if not curves:
        return empty_figure("No epoch is finished yet.")
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    shown = [(t, name, style) for t, name, style in _named(trials, metric) if t in curves]
    others = [curve for t, curve in curves.items() if t not in {trial for trial, _, _ in shown}]
    if others:
        lines = [np.column_stack([c.index, c.to_numpy()]) for c in others]
        axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, zorder=1))
        axes.plot([], [], color=FAINT, linewidth=0.8, label=f"{len(others)} other trials")
    for trial, name, style in shown:
        curve = curves[trial]
        axes.plot(
            curve.index,
            curve.to_numpy(),
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markevery=max(1, len(curve) // 8),
            label=name,
            zorder=3,
        )
    axes.autoscale_view()
    if not scale.higher_is_better and min(c.min() for c in curves.values()) > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=scale.axis_label)
    figure.legend(loc="outside right upper", title=f"n = {len(curves)} trials", alignment="left")
    return figure


@styled
def accuracy_against_relus(
    trials: pd.DataFrame, metric: str, validation_images: int | None = None
) -> Figure:
    """The metric against the ReLUs kept, for full-length trials, with their Pareto front.

    Bars are one standard deviation of the sampling of `validation_images`, for accuracies.
    """
    scale = METRICS[metric]
    complete = full_length(trials, METRICS[metric])
    if complete.empty:
        return empty_figure("No trial has trained to the end yet.")
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    relus, values = complete["relus"], complete[metric] * scale.factor
    if validation_images is not None and scale.higher_is_better:
        share = complete[metric]
        deviation = scale.factor * np.sqrt(share * (1 - share) / validation_images)
        axes.errorbar(relus, values, deviation, fmt="none", color=FAINT, linewidth=0.8, zorder=1)
        axes.plot([], [], color=FAINT, label=f"±1 sd of {validation_images:,} validation images")
    is_front = pareto_front(relus, complete[metric] * scale.sign)
    front = values[is_front].groupby(relus[is_front]).first()
    end = max(int(relus.max()), int(front.index[-1]) + 1)
    axes.step(
        [*front.index, end],
        [*front, front.iloc[-1]],
        where="post",
        color=VERMILLION,
        linewidth=1.2,
        label="Pareto front",
    )
    is_found = complete["module"] == ""
    axes.plot(
        relus[is_found],
        values[is_found],
        "o",
        color=VERMILLION,
        markerfacecolor="white",
        markersize=5,
        label=f"found (n = {is_found.sum()})",
    )
    notes = []
    where = complete.set_index("trial")
    for trial, name, style in _named(trials, metric):
        if style not in FOUND[1:]:  # the best found stands for all
            x = float(where["relus"][trial])
            y = float(where[metric][trial]) * scale.factor
            size = 13 if style is FOUND[0] else 8  # a star is mostly points
            axes.plot(x, y, style.marker, color=style.color, markersize=size, zorder=4)
            notes.append((x, y, name))
    axes.margins(0.12, 0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="ReLUs kept in the blocks", ylabel=scale.axis_label)
    figure.legend(loc="outside upper left", ncols=3)
    on_front = np.linspace(front.index[0], end, 100)
    steps = front.to_numpy()[np.searchsorted(front.index, on_front, side="right") - 1]
    obstacles = [*zip(relus, values, strict=True), *zip(on_front, steps, strict=True)]
    label_points(axes, notes, obstacles)
    return figure


@dataclass(frozen=True)
class MapRow:
    """One row of a placement map: `name` at the left, `value` at the right."""

    name: str
    placement: Placement
    value: str


@styled
def placement_map(backbone: Backbone, groups: Sequence[Sequence[MapRow]]) -> Figure:
    """Kept and dropped sites along the depth: one row per placement, groups set apart.

    The sites of a block are stacked, the first at the top.
    """
    rows = [row for group in groups for row in group]
    if not rows:
        return empty_figure("No placement to draw yet.")
    cells = _cells(backbone)
    lanes = 1 + max(lane for _, lane in cells)
    blocks = sum(backbone.blocks_per_stage)
    pitch = lanes + (0.5 if lanes == 1 else 0.9)
    tops: list[float] = []
    for group in groups:
        start = tops[-1] + 1.5 * pitch if tops else 0.0
        tops += [start + i * pitch for i in range(len(group))]
    lane_height = {1: 0.17, 2: 0.13}.get(lanes, 0.105)
    figure = new_figure(1.25 + (tops[-1] + lanes) * lane_height)
    axes = figure.add_subplot()
    kept: list[Rectangle] = []
    dropped: list[Rectangle] = []
    for row, top in zip(rows, tops, strict=True):
        for keeps, (block, lane) in zip(row.placement, cells, strict=True):
            box = Rectangle((block + 0.6, top + lane + 0.06), 0.8, 0.88)
            (kept if keeps else dropped).append(box)
    outline = 0.7 if blocks <= 60 else 0.35
    axes.add_collection(PatchCollection(kept, facecolor=BLUE, edgecolor=BLUE, linewidth=outline))
    axes.add_collection(
        PatchCollection(dropped, facecolor="white", edgecolor=GREY, linewidth=outline)
    )
    bottom = tops[-1] + lanes
    axes.set(xlim=(0.4, blocks + 0.6), ylim=(bottom + 0.4, -0.4))
    axes.set_yticks([top + lanes / 2 for top in tops], [label(row.name, 30) for row in rows])
    for row, top in zip(rows, tops, strict=True):
        where = (1.01, top + lanes / 2)
        axes.text(*where, row.value, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    _draw_stages(axes, backbone, at=-0.4, pitch=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    plain = backbone.spec.convs_per_block == 1
    axes.set_xlabel("convolution, from input to output" if plain else "block, from input to output")
    handles = [
        Patch(facecolor=BLUE, edgecolor=BLUE, label="ReLU kept"),
        Patch(facecolor="white", edgecolor=GREY, label="ReLU dropped"),
    ]
    if lanes > 1:
        order = ", ".join(backbone.spec.block_sites)
        handles.append(Patch(alpha=0, label=f"in a row, top to bottom: {order}"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@styled
def influence_of_sites(influence: pd.DataFrame, backbone: Backbone, metric: str) -> Figure:
    """`insights.site_influence` drawn along the depth, with the trials on each side below."""
    scale = METRICS[metric]
    total = int(influence["kept"].iloc[0] + influence["dropped"].iloc[0])
    if total == 0:
        return empty_figure("No trial has trained to the end yet.")
    figure = new_figure(4.4)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x = influence["site"] + 1
    names = backbone.spec.block_sites
    varies = influence["difference"].notna()
    place = np.array([max(site.positions) for site in backbone.sites])
    if backbone.spec.convs_per_block == 1:
        place = np.zeros(len(x), dtype=int)
    for position, name in enumerate(names):
        mine = varies & (place == position)
        difference = influence["difference"][mine] * scale.factor
        reach = [
            (influence["difference"] - influence["low"])[mine] * scale.factor,
            (influence["high"] - influence["difference"])[mine] * scale.factor,
        ]
        style = Style((BLUE, VERMILLION, BLACK, GREY)[position], ("o", "s", "^", "D")[position])
        is_open = influence["low"][mine].isna()
        top.errorbar(
            x[mine],
            difference,
            reach,
            fmt="none",
            color=style.color,
            linewidth=0.9,
        )
        size = 4.5 if len(x) <= 60 else 3
        for rows, face in ((~is_open, style.color), (is_open, "white")):
            top.plot(
                x[mine][rows],
                difference[rows],
                style.marker,
                color=style.color,
                markerfacecolor=face,
                markersize=size,
            )
        top.plot([], [], style.marker, color=style.color, label=name)
    top.axhline(0, color=BLACK, linewidth=0.8)
    if not varies.all():
        fixed = x[~varies]
        top.plot(fixed, np.zeros(len(fixed)), "x", color=GREY, label="never varied: nothing known")
    _limit_to_points(top, influence, scale)
    top.set_ylabel(f"kept minus dropped\n({scale.difference_unit})")
    below.bar(x, influence["kept"], width=0.8, color=BLUE, label="kept")
    below.bar(
        x,
        influence["dropped"],
        width=0.8,
        bottom=influence["kept"],
        color="white",
        edgecolor=GREY,
        hatch="////" if len(x) <= 60 else None,
        linewidth=0.4,
        label="dropped",
    )
    below.set(xlabel="ReLU site, from input to output", ylabel="trials", ylim=(0, total))
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    below.set_xlim(0.4, len(x) + 0.6)
    below.grid(visible=False)
    for axes in (top, below):
        _draw_stages(axes, backbone, at=None, pitch=len(x) / sum(backbone.blocks_per_stage))
    figure.legend(
        loc="outside upper left", ncols=7, title=f"n = {total} full-length trials", alignment="left"
    )
    return figure


@styled
def rung_correlation(correlation: pd.DataFrame, grace_epochs: int) -> Figure:
    """`insights.rank_correlation` against the epoch, with the first possible stop marked."""
    known = correlation.dropna(subset=["rho"])
    if known.empty:
        return empty_figure(
            "Too few full-length trials, or too few epochs, for a rank correlation."
        )
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    x = known["epoch"]
    axes.fill_between(x, known["low"], known["high"], color=BLUE, alpha=0.2, linewidth=0)
    if len(known) <= 40:
        reach = [known["rho"] - known["low"], known["high"] - known["rho"]]
        axes.errorbar(x, known["rho"], np.maximum(reach, 0), fmt="none", color=BLUE, linewidth=1)
    counts = sorted(set(known["n"]))
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    marker = "o" if len(known) <= 40 else ""
    axes.plot(x, known["rho"], marker=marker, color=BLUE, label=f"Spearman, n = {n} trials")
    axes.axhline(WEAK_CORRELATION, color=VERMILLION, linestyle="--", linewidth=1)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    if grace_epochs in set(correlation["epoch"]):
        axes.axvline(grace_epochs, color=GREY, linestyle=":", label="first possible early stop")
    axes.plot([], [], color=VERMILLION, linestyle="--", label=f"{WEAK_CORRELATION}: weak below")
    axes.set(ylim=(-1.05, 1.05), xlabel="epoch", ylabel="rank correlation with\nthe final metric")
    first, last = int(x.min()), int(x.max())
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    title = ""
    if counts[0] < FEWEST_TO_RANK:
        title = f"fewer than {FEWEST_TO_RANK} trials: too few to tell"
    elif grace_warning(correlation, grace_epochs):
        title = "WARNING: weak at the first stop"
    figure.legend(loc="outside right upper", title=title or None, alignment="left")
    return figure


def found_and_modules(
    trials: pd.DataFrame, metric: str, found_shown: int
) -> tuple[list[Any], list[Any]]:
    """Rows of the hand-designed modules and of the best found, as dicts.

    Only trials of full length, or while there is none, what early stopping has left.
    """
    complete = full_length(trials, METRICS[metric])
    stopped = trials[(trials["state"] == "PRUNED") & trials[metric].notna()]
    usable = ranked(stopped if complete.empty else complete, METRICS[metric])
    modules = usable[usable["module"] != ""].sort_values("trial")
    found = usable[usable["module"] == ""].head(found_shown)
    return list(modules.to_dict("records")), list(found.to_dict("records"))


def _named(trials: pd.DataFrame, metric: str) -> list[tuple[int, str, Style]]:
    """Trial, name and style of every hand-designed module and of the best three found."""
    modules, found = found_and_modules(trials, metric, len(FOUND))
    styles = module_styles(row["module"] for row in modules)
    named = [(row["trial"], module_label(row["module"]), styles[row["module"]]) for row in modules]
    for i, row in enumerate(found):
        named.append((row["trial"], f"found {i + 1}: {label(row['placement'], 18)}", FOUND[i]))
    return named


def _cells(backbone: Backbone) -> list[tuple[int, int]]:
    """Block of the built network and lane within it, both 0-based, for each site.

    A joint site of several positions lies in the last of them, so that lanes stay aligned.
    """
    plain = backbone.spec.convs_per_block == 1
    return [
        (int(site.name.split(".")[1]), 0 if plain else max(site.positions))
        for site in backbone.sites
    ]


def _draw_stages(axes: Axes, backbone: Backbone, *, at: float | None, pitch: float) -> None:
    """Borders between stages, `pitch` units of x per block; names above y = `at` if given."""
    start = 0
    for stage, count in enumerate(backbone.blocks_per_stage):
        if stage:
            axes.axvline(start * pitch + 0.5, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))
        if at is not None:
            name = f"stage {stage + 1}, {backbone.width * 2**stage} channels"
            middle = start * pitch + count * pitch / 2 + 0.5
            axes.annotate(
                name, (middle, at), (0, 3), textcoords="offset points", ha="center", fontsize=8
            )
        start += count


def _limit_to_points(axes: Axes, influence: pd.DataFrame, scale: Metric) -> None:
    """Y limits around all points, letting the widest intervals run out of the picture."""
    points = influence["difference"].dropna().to_numpy() * scale.factor
    ends = influence[["low", "high"]].to_numpy().ravel() * scale.factor
    ends = np.abs(ends[np.isfinite(ends)])
    reach = max(np.abs(points).max(initial=0) * 1.6, np.quantile(ends, 0.9) if len(ends) else 0)
    if math.isfinite(reach) and reach > 0:
        axes.set_ylim(-reach * 1.05, reach * 1.05)
