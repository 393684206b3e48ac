"""Figures over the epochs of a search: learning curves, and how early epochs predict the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.report.figure_style import (
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
from trials.early_stopping.rung_evidence import TRUSTED_CORRELATION


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
def early_prediction(evidence: pd.DataFrame, rungs: Sequence[int]) -> Figure:
    """The table of `early_evidence_table` against the epoch; the rungs are marked."""
    if evidence.empty:
        return empty_figure("Too few full-length trials to tell whether early epochs predict.")
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    x = evidence["epoch"]
    marker = "o" if len(evidence) <= 40 else ""
    axes.fill_between(
        x, evidence["at_least"], evidence["correlation"], color=BLUE, alpha=0.2, linewidth=0
    )
    n = int(evidence["n"].max())
    axes.plot(x, evidence["correlation"], marker=marker, color=BLUE, label=f"estimate, n = {n}")
    axes.plot(x, evidence["at_least"], marker=marker, color=BLUE, linewidth=1, label="at least")
    bar = f"{TRUSTED_CORRELATION}: trusted above"
    axes.axhline(TRUSTED_CORRELATION, color=VERMILLION, linestyle="--", linewidth=1, label=bar)
    for i, rung in enumerate(rungs):
        axes.axvline(rung, color=GREY, linestyle=":", label=None if i else "possible stop")
    axes.set(ylim=(-0.05, 1.05), xlabel="epoch", ylabel="rank correlation with\nthe final metric")
    axes.set_xlim(int(x.min()) - 0.5, int(x.max()) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside right upper", alignment="left")
    return figure
