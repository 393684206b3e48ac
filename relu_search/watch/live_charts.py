"""The charts of a run that may be running, with the placements that a filter admits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from relu_search.analysis.leaderboard import STATE_WORDS
from relu_search.charts.chart import Chart
from relu_search.charts.epoch_curves import NamedCurve, curves_chart, curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.placement_rows import CHARTED, map_chart, map_groups
from relu_search.charts.run_charts import charted_costs
from relu_search.charts.series import DARK_GREY, Style
from relu_search.charts.trade_off import TradeOff, trade_off_chart
from relu_search.watch.page_parts import Filter
from relu_search.watch.run_state import RunState
from search_spaces import Architecture

MOST_MARKS = 1_000
"""Placements in a chart of the metric against a cost, beside the modules and the front."""
_GROWING = Style(DARK_GREY, "o", ":")


def live_charts(state: RunState, wanted: Filter) -> list[Chart]:
    """Learning curves with those that still grow, the metric against each cost, and the map."""
    tables = state.tables
    config, metric, backbone = tables.config, tables.config.optimised, tables.config.network
    words = tables.trials["state"].map(STATE_WORDS).fillna("")
    texts = zip(
        *(tables.trials[name] for name in ("module", "placement", "ratio")), words, strict=True
    )
    trials = tables.trials[np.array([wanted.admits(*row) for row in texts], dtype=bool)]
    shown = set(trials["placement"])
    marks = [one for one in marks_of(tables.trials, config) if one.placement in shown]
    curves = curves_of(trials, tables.epochs, marks, metric)
    curves = replace(curves, named=[*_growing(state, wanted), *curves.named])
    return [
        curves_chart(curves),
        *(_trade_off(TradeOff.of(marks, config, c), backbone) for c in charted_costs(config)),
        map_chart(map_groups(marks, backbone, CHARTED), backbone, metric),
    ]


def _trade_off(trade: TradeOff, backbone: Architecture) -> Chart:
    """The metric against a cost, of as many placements as a browser draws at once."""
    if len(trade.marks) <= MOST_MARKS:
        return trade_off_chart(trade, backbone)
    best = [*trade.marks[:MOST_MARKS], *(m for m in trade.marks[MOST_MARKS:] if m.module)]
    shown = [*best, *(mark for mark in trade.front if mark not in best)]
    chart = trade_off_chart(replace(trade, marks=shown), backbone)
    few = f"Shown are the best {MOST_MARKS:,} of {len(trade.marks):,}; the filter finds the others."
    return replace(chart, sentence=f"{chart.sentence} {few}")


def _growing(state: RunState, wanted: Filter) -> list[NamedCurve]:
    """The curves of the trials that have not ended."""
    epochs, metric = state.tables.epochs, state.tables.config.optimised
    found = []
    for one in state.open_trials:
        mine = epochs[epochs["trial"] == one.trial].dropna(subset=[metric.name])
        if len(mine) and wanted.admits(one.name, one.placement, one.ratio, "running"):
            found.append(
                NamedCurve(
                    name=f"trial {one.trial}, not ended: {one.name}",
                    style=_GROWING,
                    epochs=mine["epoch"].tolist(),
                    values=(mine[metric.name] * metric.factor).tolist(),
                    runs=(),
                )
            )
    return found
