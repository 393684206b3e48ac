"""How often does the set of ratios that cannot be told apart contain the best one? By replay.

```bash
python -m benchmarks.search.best_ratio             # writes the table of best_ratio.md
```
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.replays import full_length, in_processes, seed_order, trial_row
from benchmarks.replay.simulator import Replay
from relu_search.ratios.best_ratio import LEVEL, best_ratio
from relu_search.settings.search_config import SearchConfig

PAGE = Path(__file__).parents[1] / "best_ratio.md"
TABLES = ("plain-12", "preresnet-8", "plain-20-colour", "plain-20-colour-short")
SAMPLERS = ("gp", "random")
TRIALS = (48,)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one search said, and whether it was right.

    Attributes:
        held: whether the set contains the ratio of the truly best of the placements tried.
        size, ratios: ratios in the set, and ratios tried.
        intervals, within: intervals of a ratio's best placement; those that contain its true mean.
    """

    held: bool
    size: int
    ratios: int
    intervals: int
    within: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Sets of ratios, replayed against ReLU-Bench.")
    parser.add_argument("--replays", type=int, default=100, help="searches per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    conditions = list(product(TABLES, SAMPLERS, TRIALS))
    found = in_processes(replayed, conditions, **vars(arguments))
    lines = [
        f"{arguments.replays} searches per row. Sets have a probability of at least {LEVEL:.0%}.",
        "",
        "| table | sampler | trials | set has the best ratio | ratios in the set | ratios tried "
        "| intervals that contain the mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition, answers in zip(conditions, found, strict=True):
        lines.append(_row(condition, [one for one in answers if one is not None]))
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def replayed(name: str, sampler: str, trials: int, seed: int) -> Answer | None:
    """One search with the default early stopping; None if it has no answer."""
    table = load(name)
    order = seed_order(table, seed)
    ended = Replay(
        table=table, sampler=sampler, trials=trials, seeds=order, workers=2, seed=seed
    ).run()
    whole = full_length(table, ended)
    rows = [trial_row(table, number, one.row, one.seed) for number, one in enumerate(whole)]
    config = SearchConfig(
        backbone=table.spec.backbone,
        width=table.spec.width,
        granularity="site",
        metric="val_loss",
        seed=seed,
    )
    answer = best_ratio(pd.DataFrame(rows), config.resolve())
    if answer is None:
        return None
    truth = np.nanmean(table.final("val_loss"), axis=1)
    tried = sorted({one.row for one in whole if table.relus[one.row] >= 1})
    best = int(table.relus[tried[int(np.argmin(truth[tried]))]])
    with_interval = [row for row in answer.rows if row.low is not None and row.high is not None]
    means = [float(truth[table.row_of[_bits(table, row.placement)]]) for row in with_interval]
    return Answer(
        held=best in {row.relus for row in answer.together},
        size=len(answer.together),
        ratios=len(answer.rows),
        intervals=len(means),
        within=sum(
            row.low <= mean <= row.high  # type: ignore[operator]  # both are there
            for row, mean in zip(with_interval, means, strict=True)
        ),
    )


def _bits(table: Table, text: str) -> str:
    return next(p.bits for p in table.spec.placements if p.text == text)


def _row(condition: tuple[str, str, int], answers: list[Answer]) -> str:
    name, sampler, trials = condition
    held = np.mean([one.held for one in answers])
    within = sum(one.within for one in answers) / sum(one.intervals for one in answers)
    sizes = [np.mean([getattr(one, what) for one in answers]) for what in ("size", "ratios")]
    return (
        f"| {name} | {sampler} | {trials} | {held:.1%} | {sizes[0]:.1f} | {sizes[1]:.1f} | "
        f"{within:.1%} |"
    )


if __name__ == "__main__":
    main()
