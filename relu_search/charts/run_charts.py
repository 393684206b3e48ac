"""The charts of a run, made from a snapshot of its tables."""

from __future__ import annotations

from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.charts.chart import Chart
from relu_search.charts.epoch_curves import curves_chart, curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.placement_rows import CHARTED, map_chart, map_groups
from relu_search.charts.trade_off import TradeOff, trade_off_chart
from relu_search.settings.metrics import CountedCost, counted_costs
from relu_search.settings.resolved_config import ResolvedConfig


def charts_of(snapshot: RunSnapshot) -> list[Chart]:
    """The metric against each cost of the search, the learning curves, and the placement map.

    Equal tables give equal charts. A chart that has nothing to show yet says so.

    Raises:
        InputError: a placement in the tables does not fit the backbone.
    """
    config, backbone = snapshot.config, snapshot.config.network
    metric = config.optimised
    marks = marks_of(snapshot.trials, config)
    curves = curves_of(snapshot.trials, snapshot.epochs, marks, metric)
    return [
        *(trade_off_chart(TradeOff.of(marks, config, c), backbone) for c in charted_costs(config)),
        curves_chart(curves),
        map_chart(map_groups(marks, backbone, CHARTED), backbone, metric),
    ]


def charted_costs(config: ResolvedConfig) -> list[CountedCost]:
    """The costs with a chart: those of the objective, or the kept ReLUs."""
    return counted_costs(config.costs) or ["relus"]
