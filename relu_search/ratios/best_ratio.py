"""Which ratio N:M is the best one of a search? Its probability, and the ratios not told apart.

The rule is stated in docs/verdicts.md, its error rate in benchmarks/best_ratio.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from relu_search.analysis.estimates import estimates, full_length, joint_scores
from relu_search.analysis.leaderboard import admitted
from relu_search.settings.metrics import Metric
from relu_search.settings.resolved_config import ResolvedConfig

if TYPE_CHECKING:
    from rich.table import Table

WIDENING = 2.5
"""Factor on the standard deviations of the model, which is too certain without it."""
OWN_SHARE = 8.0
"""A placement with n runs deviates from the model by a variance of its own: this times the variance
of the noise, over n + 1. The model has none, as it takes such deviations for noise."""
LEVEL = 0.95
"""Probability with which the best ratio is in the set that is not told apart."""
DRAWS = 4000
_Z = 1.96
_LISTED = 3
"""Ratios of the set that are named one by one; more are named as a range, where they are one."""


@dataclass(frozen=True, kw_only=True)
class RatioRow:
    """A ratio that was tried.

    Attributes:
        ratio: such as `2:1`.
        relus: kept in the blocks.
        tried: placements with a full-length trial.
        placement, module: the one with the best estimate, and its name if it has one.
        estimate, low, high: of this placement's metric, and the 95 % interval; the interval is None
            if all placements of the ratio are far worse than all others: then there is no model.
        probability: that the best of all placements tried has this ratio.
        in_set: whether the ratio is in the smallest set that contains the best one with `LEVEL`.
    """

    ratio: str
    relus: int
    tried: int
    placement: str
    module: str
    estimate: float
    low: float | None
    high: float | None
    probability: float
    in_set: bool


@dataclass(frozen=True, kw_only=True)
class BestRatio:
    """What a search says of its ratios.

    Attributes:
        metric: of the estimates.
        rows: of the ratios, most ReLUs first.
    """

    metric: Metric
    rows: list[RatioRow]

    @property
    def together(self) -> list[RatioRow]:
        """The ratios that cannot be told apart from the best one, most ReLUs first."""
        return [row for row in self.rows if row.in_set]

    def sentence(self) -> str:
        """The answer in one sentence."""
        together = self.together
        sure = _probability(sum(row.probability for row in together))
        others = [row for row in self.rows if not row.in_set]
        rest = ""
        if others:
            worst = _probability(sum(row.probability for row in others))
            one = len(others) == 1
            rest = f"; {others[0].ratio if one else 'one of the others'} is it with {worst}"
        if len(together) == 1:
            return f"Of the ratios tried, {together[0].ratio} is the best one with {sure}{rest}."
        return (
            f"Of the ratios tried, {self._names()} cannot be told apart: the best one is among "
            f"them with {sure}{rest}."
        )

    def _names(self) -> str:
        names = [row.ratio for row in self.together]
        places = [place for place, row in enumerate(self.rows) if row.in_set]
        if len(names) > _LISTED and places[-1] - places[0] == len(names) - 1:
            return f"{names[0]} to {names[-1]}"
        return f"{', '.join(names[:-1])} and {names[-1]}"

    def cells(self) -> list[list[str]]:
        """The table's rows as text; see `COLUMNS`."""
        return [
            [
                row.ratio,
                str(row.relus),
                str(row.tried),
                row.module or row.placement,
                self.metric.text(row.estimate),
                self._interval(row),
                _two_digits(row.probability),
                "yes" if row.in_set else "no",
            ]
            for row in self.rows
        ]

    def _interval(self, row: RatioRow) -> str:
        if row.low is None or row.high is None:
            return "-"
        return f"{self.metric.text(row.low)} to {self.metric.text(row.high)}"

    def table(self) -> Table:
        """For a terminal."""
        from rich.table import Table

        table = Table(header_style="bold", box=None, pad_edge=False)
        for name in COLUMNS:
            is_text = name == "best placement"
            table.add_column(name, justify="left" if is_text else "right", overflow="fold")
        for cells in self.cells():
            table.add_row(*cells)
        return table

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "metric": self.metric.name,
            "sentence": self.sentence(),
            "ratios": [asdict(row) for row in self.rows],
        }


COLUMNS = (
    *("ratio", "ReLUs", "tried", "best placement", "estimate", "95 % interval"),
    *("P(best)", "in the set"),
)
"""Of the table."""


def best_ratio(trials: pd.DataFrame, config: ResolvedConfig) -> BestRatio | None:
    """What a search says of the ratios that it tried, within its ReLU limits.

    None with fewer than two ratios, or with too few full-length trials for a model.
    """
    metric = config.optimised
    whole = admitted(full_length(trials, metric), config)
    scores = joint_scores(trials, metric)
    if scores is None or whole["relus"].nunique() < 2:
        return None
    of_placement = whole.drop_duplicates("placement").set_index("placement")
    known = estimates(trials, metric).loc[of_placement.index]
    kept = [place for place, text in enumerate(scores.placements) if text in of_placement.index]
    if not kept:
        return None
    texts = [scores.placements[place] for place in kept]
    mean, covariance = scores.mean[kept], WIDENING**2 * scores.covariance[np.ix_(kept, kept)]
    runs = known["n"][texts].to_numpy(dtype=np.float64)
    covariance[np.diag_indices_from(covariance)] += OWN_SHARE * scores.noise**2 / (runs + 1)
    relus = of_placement["relus"][texts].to_numpy(dtype=np.int64)
    chances = _chances(mean, covariance, relus, config.seed)
    chosen = _set_of(chances)
    half = _Z * np.sqrt(np.diag(covariance))
    ends = {
        text: tuple(sorted(float(v) for v in scores.values(np.array([m - h, m + h]))))
        for text, m, h in zip(texts, mean, half, strict=True)
    }
    rows = []
    for count, group in sorted(known.groupby(of_placement["relus"]), reverse=True):
        order = metric.sign * group["estimate"]
        order = order[group["sd"].notna()] if group["sd"].notna().any() else order
        best = str(order.idxmax())
        low, high = ends.get(best, (None, None))
        rows.append(
            RatioRow(
                ratio=str(of_placement["ratio"][best]),
                relus=int(count),
                tried=len(group),
                placement=best,
                module=str(of_placement["module"][best]),
                estimate=float(group["estimate"][best]),
                low=low,
                high=high,
                probability=chances.get(int(count), 0.0),
                in_set=int(count) in chosen,
            )
        )
    return BestRatio(metric=metric, rows=rows)


def _chances(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    relus: NDArray[np.int64],
    seed: int,
) -> dict[int, float]:
    """ReLUs kept -> share of the draws of all scores in which such a placement is the best."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    noise = np.random.default_rng(seed).standard_normal((len(mean), DRAWS))
    leaders = relus[np.argmax(mean[:, None] + root @ noise, axis=0)]
    counts = dict.fromkeys(map(int, relus), 0.0)
    found, times = np.unique(leaders, return_counts=True)
    return counts | {int(r): float(n) / DRAWS for r, n in zip(found, times, strict=True)}


def _set_of(chances: dict[int, float]) -> set[int]:
    """The smallest set of ratios whose chances add up to `LEVEL`."""
    chosen: set[int] = set()
    total = 0.0
    for relus in sorted(chances, key=lambda one: (-chances[one], one)):
        if total >= LEVEL:
            break
        chosen.add(relus)
        total += chances[relus]
    return chosen


def _probability(value: float) -> str:
    return f"probability {_two_digits(value)}"


def _two_digits(value: float) -> str:
    """`0.83`; `below 0.01` and `above 0.99` at the ends."""
    if value < 0.01:
        return "below 0.01"
    return "above 0.99" if value > 0.99 else f"{value:.2f}"
