"""One mark per placement: its estimate, its interval, and the single runs behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from relu_search.analysis.estimates import estimates, full_length, has_model, value_text
from relu_search.analysis.leaderboard import admitted, is_control
from relu_search.settings.metrics import COLUMN_OF, CountedCost, Metric
from relu_search.settings.resolved_config import ResolvedConfig


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A placement with at least one full-length trial. Values have the unit of `trials.csv`.

    Attributes:
        placement: its text.
        module: the name of the hand-designed module that it is, or empty.
        ratio: such as `2:1`.
        costs: those that the table has.
        runs: the metric of each full-length trial, one per seed.
        stopped: further trials, which were stopped early.
        mean: of `runs`.
        estimate: the model's estimate of the metric; without a model it is the mean.
        sd: one standard deviation of the estimate; None where there is no model.
        value: estimate and deviation as every table shows them.
        is_admitted: its ReLUs are within the limits of the search.
    """

    placement: str
    module: str
    ratio: str
    costs: Mapping[CountedCost, float]
    runs: tuple[float, ...]
    stopped: int
    mean: float
    estimate: float
    sd: float | None
    value: str
    is_admitted: bool

    @property
    def name(self) -> str:
        """As tables name it."""
        return (
            f"{self.module} (control)" if is_control(self.module) else self.module or self.placement
        )


def marks_of(trials: pd.DataFrame, config: ResolvedConfig) -> list[Mark]:
    """The mark of each placement with a full-length trial, best estimate first.

    Args:
        trials: `trials.csv`.
        config: of the search.
    """
    metric = config.optimised
    whole = full_length(trials, metric)
    known = estimates(trials, metric)
    known = known.assign(
        best=(metric.sign * whole[metric.name].astype(float)).groupby(whole["placement"]).max()
    )
    known["order"] = -metric.sign * known["estimate"]
    known = known.sort_values(["order", "best"], ascending=[True, False], kind="stable")
    stopped = trials.loc[trials["state"] == "PRUNED", "placement"].value_counts().to_dict()
    modules = whole.groupby("placement")["module"].max().to_dict()  # a name comes after no name
    runs = whole.groupby("placement")[metric.name].agg(list).to_dict()
    facts = whole.drop_duplicates("placement").set_index("placement")
    is_modelled = has_model(known)
    within = set(admitted(whole, config)["placement"])
    ratios = facts["ratio"].to_dict()
    columns = {cost: facts[name].to_dict() for cost, name in COLUMN_OF.items() if name in facts}
    return [
        Mark(
            placement=text,
            module=str(modules[text]),
            ratio=str(ratios[text]),
            costs={cost: float(column[text]) for cost, column in columns.items()},
            runs=tuple(map(float, runs[text])),
            stopped=int(stopped.get(text, 0)),
            mean=float(mean),
            estimate=float(estimate),
            sd=None if math.isnan(sd) else float(sd),
            value=value_text(estimate, sd, metric, is_left_out=is_modelled and math.isnan(sd)),
            is_admitted=text in within,
        )
        for text, mean, estimate, sd in zip(
            map(str, known.index), known[metric.name], known["estimate"], known["sd"], strict=True
        )
    ]


def front_of(marks: Sequence[Mark], metric: Metric, cost: CountedCost) -> list[Mark]:
    """The marks with a better estimate than every other that costs no more; cheapest first.

    Only placements within the limits of the search count, as in its answer.
    """
    front: list[Mark] = []
    order = [mark for mark in marks if mark.is_admitted]
    for mark in sorted(order, key=lambda m: (m.costs[cost], -metric.sign * m.estimate)):
        if not front or metric.sign * (mark.estimate - front[-1].estimate) > 0:
            front.append(mark)
    return front
