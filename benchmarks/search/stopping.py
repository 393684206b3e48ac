"""What does `--stop-when-decided` save, and what does it lose? By replay of ReLU-Bench.

```bash
python -m benchmarks.search.stopping               # writes the table of stopping.md
```
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import load
from benchmarks.replay.replays import in_processes, seed_order, trial_row
from benchmarks.replay.simulator import Replay
from relu_search.analysis.leaderboard import best_trial
from relu_search.budget.decided import ACCURACY_MARGIN, LOSS_MARGIN, Decider
from relu_search.settings.metrics import MetricName
from relu_search.settings.search_config import SearchConfig
from search_spaces import SearchSpace

PAGE = Path(__file__).parents[1] / "stopping.md"
CONDITIONS: tuple[tuple[str, MetricName, int], ...] = (
    ("plain-20-colour", "val_loss", 60),
    ("plain-20-colour", "val_accuracy", 60),
    ("preresnet-8", "val_loss", 60),
    ("preresnet-8", "val_accuracy", 60),
    ("plain-12", "val_loss", 100),
)
"""Table, metric, and budget of the search."""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """One search, as it ended, and as it would have ended at its decision.

    Attributes:
        trials: of the search until it was decided; the whole budget if it never was.
        is_early: it was decided before its budget was spent.
        regret, whole: how far the leader at the decision, and at the end of the budget, is behind
            the best placement of the space, by its mean on test images: logarithm of the loss, or
            accuracy.
    """

    trials: int
    is_early: bool
    regret: float
    whole: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Decided searches, replayed against ReLU-Bench.")
    parser.add_argument("--replays", type=int, default=40, help="searches per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    found = in_processes(replayed, CONDITIONS, **vars(arguments))
    lines = [
        f"{arguments.replays} searches per row. Regrets are means, in % of the test loss or in "
        "points of test accuracy.",
        "",
        "| table | metric | budget | ended early | trials: quartiles | regret at the decision "
        "| regret of the whole budget | lost more than the margin |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, metric, budget), of_row in zip(CONDITIONS, found, strict=True):
        lines.append(f"| {name} | {metric} | {budget} | {_cells(of_row, metric)} |")
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def replayed(name: str, metric: MetricName, budget: int, seed: int) -> Stopped:
    """One search with the default early stopping and two workers."""
    table = load(name)
    spec = table.spec
    order = seed_order(table, seed)
    ended = Replay(
        table=table,
        sampler="gp",
        trials=budget,
        seeds=order,
        metric=metric,
        workers=2,
        seed=seed,
    ).run()
    config = SearchConfig(
        backbone=spec.backbone,
        width=spec.width,
        granularity=spec.granularity,
        metric=metric,
        seed=seed,
    ).resolve()
    space = SearchSpace(spec.space.backbone, spec.granularity)
    rows: list[dict[str, Any]] = []
    decider, tried = Decider(config, space, rows), set()
    decided_at: tuple[int, int] | None = None  # trials that have ended, and rows
    for count, one in enumerate(ended, start=1):
        tried.add(space.canonical(spec.placements[one.row]))
        if one.epochs == spec.recipe.epochs and not one.failed:
            rows.append(trial_row(table, count, one.row, one.seed))
        if decided_at is None and count < len(ended) and decider(tried, count):
            decided_at = count, len(rows)
    test = np.nanmean(table.final(metric.replace("val", "test")), axis=1)
    truth = -np.log(test) if metric == "val_loss" else test
    best = truth[table.relus >= config.min_relus].max()

    def regret(of_rows: list[dict[str, Any]]) -> float:
        leader = best_trial(pd.DataFrame(of_rows), config)
        assert leader is not None
        texts = [placement.text for placement in spec.placements]
        return float(best - truth[texts.index(leader["placement"])])

    trials, count = decided_at or (len(ended), len(rows))
    return Stopped(
        trials=trials,
        is_early=decided_at is not None,
        regret=regret(rows[:count]),
        whole=regret(rows),
    )


def _cells(found: Sequence[Stopped], metric: MetricName) -> str:
    margin = LOSS_MARGIN if metric == "val_loss" else ACCURACY_MARGIN
    low, middle, high = np.quantile([one.trials for one in found], (0.25, 0.5, 0.75))
    regret, whole = (np.array([getattr(one, n) for one in found]) for n in ("regret", "whole"))
    return (
        f"{np.mean([one.is_early for one in found]):.0%} | {low:.0f}, {middle:.0f}, {high:.0f} | "
        f"{100 * regret.mean():.2f} | {100 * whole.mean():.2f} | "
        f"{np.mean(regret - whole > margin):.0%}"
    )


if __name__ == "__main__":
    main()
