"""Placements that no other placement beats in every objective."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from relu_search.analysis.estimates import estimates, full_length
from relu_search.analysis.leaderboard import admitted, rows_of
from relu_search.settings.metrics import cost_columns
from relu_search.settings.resolved_config import ResolvedConfig
from trials.early_stopping.pareto_halving import dominates


def pareto_placements(trials: pd.DataFrame, config: ResolvedConfig) -> list[dict[str, Any]]:
    """Rows on the Pareto front of estimate and costs, cheapest first; one per placement.

    A row has the columns of `trials.csv` and `estimate`. The cost `macs-after-fold` is not a column
    of `trials.csv`, so it is ignored here.
    """
    metric = config.optimised
    known = estimates(trials, metric)["estimate"]
    whole = admitted(full_length(trials, metric), config)
    if whole.empty:
        return []
    whole = whole.drop_duplicates("placement").copy()
    whole["estimate"] = whole["placement"].map(known)
    columns = cost_columns(config.costs)
    points = [
        (-metric.sign * float(row["estimate"]), *(float(row[c]) for c in columns))
        for row in rows_of(whole)
    ]
    on_front = [not any(dominates(other, point) for other in points) for point in points]
    front = whole[on_front].sort_values([*columns, "estimate"])
    return rows_of(front)


def pareto_front(costs: pd.Series[Any], score: pd.Series[Any]) -> pd.Series[Any]:
    """True where no other point has as low a cost and as high a score, and one of them better.

    Equal points are on the front together.
    """
    best = score.groupby(costs).max().sort_index()
    with_less = best.cummax().shift(fill_value=-math.inf)
    leading = best[best > with_less]
    return score == costs.map(leading)
