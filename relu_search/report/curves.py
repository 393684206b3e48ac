"""Figures over the epochs of a search: learning curves, and how early ranks predict final ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.analysis.rank_agreement import FEWEST_TO_RANK, WEAK_CORRELATION, grace_warning
from relu_search.report.figure_style import (
    BLACK,
    BLUE,
    FAINT,
    GREY,
    VERMILLION,
    empty_figure,
    log_scale,
    named_placements,
    new_figure,
    styled,
)
from relu_search.settings.metrics import Metric


@styled
def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, metric: Metric) -> Figure:
    """The metric after each epoch: one line per named placement, the other trials faint.

    The line of a placement with several seeds is the mean of its full-length trials.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        metric: on the y axis; a metric with `log` gets a logarithmic axis.
    """
    wide = epochs.pivot_table(index="epoch", columns="trial", values=metric.name) * metric.factor
    if wide.empty:
        return empty_figure("No epoch is finished yet.")
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    usable = trials[trials["trial"].isin(wide.columns)]
    shown: set[int] = set()
    for named in named_placements(trials, metric):
        mine = usable[usable["placement"] == named.placement]
        whole = mine[mine["state"] == "COMPLETE"]
        runs = (mine.head(1) if whole.empty else whole)["trial"]
        if runs.empty:
            continue
        shown.update(runs)
        curve = wide[list(runs)].mean(axis=1).dropna()
        axes.plot(
            curve.index,
            curve.to_numpy(),
            color=named.style.color,
            linestyle=named.style.line,
            marker=named.style.marker,
            markevery=max(1, len(curve) // 8),
            label=named.name + (f" (n = {len(runs)})" if len(runs) > 1 else ""),
            zorder=3,
        )
    others = wide.drop(columns=list(shown))
    if len(others.columns):
        lines = [
            np.column_stack([curve.index, curve.to_numpy()])
            for curve in (others[trial].dropna() for trial in others)
        ]
        axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, zorder=1))
        axes.plot([], [], color=FAINT, linewidth=0.8, label=f"{len(lines)} other trials")
    axes.autoscale_view()
    if metric.log and float(np.nanmin(wide.to_numpy())) > 0:
        log_scale(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=metric.axis_label)
    title = f"{len(wide.columns)} trials"
    figure.legend(loc="outside right upper", title=title, alignment="left")
    return figure


@styled
def rung_correlation(correlation: pd.DataFrame, grace_epochs: int) -> Figure:
    """The table of `rank_correlation` against the epoch; the first possible stop is marked."""
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
