"""Which share of the budget of `discover` should the search get? By replay of ReLU-Bench.

```bash
python -m benchmarks.search.discover               # writes the table of discover.md
```
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.replays import full_length, in_processes, seed_order, trial_row
from benchmarks.replay.simulator import Ended, Replay
from relu_search.analysis.leaderboard import ranked, rows_of
from relu_search.budget.plan import TOP
from relu_search.confirmation.arms import Arm
from relu_search.confirmation.verdict_rule import MARGIN
from relu_search.confirmation.verdict_table import verdict_rows
from relu_search.discovery import division
from relu_search.discovery.winner import better_arm
from relu_search.settings.metrics import METRICS
from relu_search.settings.search_config import SearchConfig
from search_spaces import Placement, ratio_text, reference_modules

PAGE = Path(__file__).parents[1] / "discover.md"
TABLES = ("preresnet-8",)
"""Tables with enough seeds for confirmations of many seeds."""
BUDGETS = (110, 150)
SHARES = (0.1, 0.3, 0.5, 0.7)
SEARCH_SEEDS = 3
"""Seeds of the table that a search uses, at most; the others are those of confirmations."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one discovery ended with.

    Attributes:
        trials, seeds: of the search and of the confirmation.
        is_better: an arm was confirmed to be better than paired.
        behind: mean test accuracy of the best placement of the space less that of the winner, over
            all seeds of the table, in percentage points.
    """

    trials: int
    seeds: int
    is_better: bool
    behind: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Discoveries, replayed against ReLU-Bench.")
    parser.add_argument("--replays", type=int, default=40, help="discoveries per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    conditions = list(product(TABLES, BUDGETS, SHARES))
    found = in_processes(replayed, conditions, **vars(arguments))
    lines = [
        f"{arguments.replays} discoveries per row.",
        "",
        "| table | trainings | share of the search | trials, seeds | a winner is confirmed "
        "| points behind the best: mean ± standard error |",
        "|---|---|---|---|---|---|",
    ]
    for (name, budget, share), of_row in zip(conditions, found, strict=True):
        lines.append(f"| {name} | {budget} | {share:.0%} | {_cells(of_row)} |")
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def replayed(name: str, budget: int, share: float, seed: int) -> Found:
    """One discovery: a search with early stopping, then a confirmation on other seeds."""
    table = load(name)
    order = seed_order(table, seed)
    config = SearchConfig(
        backbone=table.spec.backbone,
        width=table.spec.width,
        granularity="site",
        metric="val_loss",
        trials=budget,
        seed=seed,
    )
    divided = division.Division.of(config)
    with patch.object(division, "SEARCH_SHARE", share):
        trials = divided.for_search()["trials"]
    ended = Replay(
        table=table,
        sampler="gp",
        trials=trials,
        seeds=order[:SEARCH_SEEDS],
        workers=2,
        seed=seed,
    ).run()
    arms = _arms(table, ended)
    seeds = order[SEARCH_SEEDS:][: (budget - trials) // len(arms)]
    rows = verdict_rows(_runs(table, arms, seeds), arms, margin=MARGIN, dropped_after={})
    better = better_arm(rows, config.resolve())
    bits = "1" * len(table.spec.space.backbone.sites)
    if better is not None:
        bits = next(arm.placement.bits for arm in arms if arm.name == better["arm"])
    truth = np.nanmean(table.final("test_accuracy"), axis=1)
    best = truth[table.relus >= config.resolve().min_relus].max()
    return Found(
        trials=trials,
        seeds=len(seeds),
        is_better=better is not None,
        behind=100 * float(best - truth[table.row_of[bits]]),
    )


def _arms(table: Table, ended: Sequence[Ended]) -> list[Arm]:
    """The hand-designed modules, and the best placements that the search has found."""
    backbone = table.spec.space.backbone
    whole = full_length(table, ended)
    trials = pd.DataFrame(trial_row(table, n, e.row, e.seed) for n, e in enumerate(whole))
    order = ranked(trials, METRICS["val_loss"]).drop_duplicates("placement")
    found = [row for row in rows_of(order) if not row["module"] and row["relus"]][:TOP]
    named = [(name, p, "module") for name, p in reference_modules(backbone).items()]
    named += [(f"trial {r['trial']}", Placement.parse(r["placement"]), "found") for r in found]
    return [
        Arm(
            name=name,
            origin="control" if name == "linear" else "found" if origin == "found" else "module",
            placement=placement,
            ratio=ratio_text(backbone, placement),
            search_trial=None,
            search_accuracy=None,
        )
        for name, placement, origin in named
    ]


def _runs(table: Table, arms: Sequence[Arm], seeds: Sequence[int]) -> pd.DataFrame:
    """`confirm.csv` of these trainings."""
    test, validation = table.final("test_accuracy"), table.final("val_accuracy")
    rows = [(arm, table.row_of[arm.placement.bits], seed) for seed in seeds for arm in arms]
    return pd.DataFrame(
        {
            "arm": arm.name,
            "seed": seed,
            "state": "COMPLETE",
            "test_accuracy": test[row, seed],
            "val_accuracy": validation[row, seed],
        }
        for arm, row, seed in rows
    )


def _cells(found: Sequence[Found]) -> str:
    behind = np.array([one.behind for one in found])
    error = behind.std(ddof=1) / np.sqrt(len(behind))
    return (
        f"{found[0].trials}, {found[0].seeds} | {np.mean([one.is_better for one in found]):.0%} | "
        f"{behind.mean():.2f} ± {error:.2f}"
    )


if __name__ == "__main__":
    main()
