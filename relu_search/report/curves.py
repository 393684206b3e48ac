"""Figures over the epochs of a search: learning curves, and how early epochs predict the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.charts.epoch_curves import Curves
from relu_search.charts.series import BLUE, VERMILLION
from relu_search.report.figure_style import (
    FAINT,
    GREY,
    empty_figure,
    log_scale,
    new_figure,
    styled,
)
from trials.early_stopping.rung_evidence import TRUSTED_CORRELATION


@styled
def learning_curves(curves: Curves) -> Figure:
    """The metric after each epoch: one line per placement; single runs and the unnamed are faint.

    The metric's axis is logarithmic where ratios count.
    """
    if not (curves.named or curves.faint):
        return empty_figure("No epoch is finished yet.")
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    for curve in curves.named:
        style = curve.style
        runs = [np.column_stack(run) for run in curve.runs]
        axes.add_collection(LineCollection(runs, colors=style.color, alpha=0.35, linewidths=0.7))
        axes.plot(
            curve.epochs,
            curve.values,
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markevery=max(1, len(curve.epochs) // 8),
            label=curve.legend,
            zorder=3,
        )
    if curves.faint:
        others = [np.column_stack([curve.epochs, curve.values]) for curve in curves.faint]
        axes.add_collection(LineCollection(others, colors=FAINT, linewidths=0.8, zorder=1))
        more = f"{len(others)} other placement{'' if len(others) == 1 else 's'}"
        axes.plot([], [], color=FAINT, linewidth=0.8, label=more)
    axes.autoscale_view()
    if curves.is_log:
        log_scale(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=curves.metric.axis_label)
    figure.legend(loc="outside right upper", alignment="left")
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
    label = f"estimate, n = {n} placements"
    axes.plot(x, evidence["correlation"], marker=marker, color=BLUE, label=label)
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
