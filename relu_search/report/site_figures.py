"""Figures with one column per ReLU site: its influence and its importance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.analysis.site_effects import FEWEST
from relu_search.charts.series import BLUE, VERMILLION, Style
from relu_search.report.figure_style import BLACK, GREY, empty_figure, new_figure, styled
from relu_search.settings.metrics import Metric
from search_spaces import Architecture

_METHODS: dict[str, tuple[str, str, str, float]] = {
    "ped_anova": ("PED-ANOVA", BLUE, "", -0.2),
    "fanova": ("fANOVA", VERMILLION, "////", 0.2),
}


@styled
def influence_of_sites(influence: pd.DataFrame, backbone: Architecture, metric: Metric) -> Figure:
    """The table of `site_influence` along the depth, with the number of trials on each side.

    Sites that no trial varied are marked with a cross at 0.
    """
    total = int(influence["kept"].iloc[0] + influence["dropped"].iloc[0])
    if total == 0:
        return empty_figure("No trial has trained to the end yet.")
    figure = new_figure(4.4)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x = influence["site"] + 1
    varies = influence["difference"].notna()
    place = np.array([row for _, row in backbone.cells])
    for position, name in enumerate(backbone.row_names):
        mine = varies & (place == position)
        difference = influence["difference"][mine] * metric.factor
        reach = [
            (influence["difference"] - influence["low"])[mine] * metric.factor,
            (influence["high"] - influence["difference"])[mine] * metric.factor,
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
    _limit_to_points(top, influence, metric)
    top.set_ylabel(f"kept minus dropped\n({metric.difference_unit})")
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
        _draw_borders(axes, influence)
    figure.legend(
        loc="outside upper left", ncols=7, title=f"n = {total} full-length trials", alignment="left"
    )
    return figure


@styled
def importance_of_sites(importance: pd.DataFrame) -> Figure:
    """The table of `site_importance` as bars along the depth, in percent."""
    known = importance.dropna(subset=list(_METHODS), how="all")
    if known.empty:
        return empty_figure(f"Fewer than {FEWEST} full-length trials: too few for importances.")
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    x = importance["site"] + 1
    for column, (label, color, hatch, shift) in _METHODS.items():
        look: dict[str, Any] = {
            "color": color,
            "hatch": hatch,
            "edgecolor": "white",
            "linewidth": 0,
        }
        axes.bar(x + shift, 100 * importance[column], width=0.4, label=label, **look)
    axes.axhline(100 / len(importance), color=BLACK, linestyle=":", label="all equal")
    _draw_borders(axes, importance)
    axes.set(xlabel="ReLU site, from input to output", ylabel="share of importance (%)")
    axes.set_xlim(0.4, len(importance) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    title = f"n = {importance['n'].iloc[0]} full-length trials"
    figure.legend(loc="outside upper left", ncols=4, title=title, alignment="left")
    return figure


def _draw_borders(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a line before the first site of each later stage."""
    for border in table.index[table["stage"].diff() > 0]:
        axes.axvline(border + 0.5, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))


def _limit_to_points(axes: Axes, influence: pd.DataFrame, metric: Metric) -> None:
    """Set y limits that show all points; the widest tenth of the intervals may be cut off."""
    points = influence["difference"].dropna().to_numpy() * metric.factor
    ends = influence[["low", "high"]].to_numpy().ravel() * metric.factor
    ends = np.abs(ends[np.isfinite(ends)])
    reach = max(np.abs(points).max(initial=0) * 1.6, np.quantile(ends, 0.9) if len(ends) else 0)
    if math.isfinite(reach) and reach > 0:
        axes.set_ylim(-reach * 1.05, reach * 1.05)
