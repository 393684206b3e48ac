"""How many trainings each strategy needs, replayed against ReLU-Bench.

```bash
python -m benchmarks.search_efficiency            # replays what is missing, writes the page
```

Each cell (strategy, early stopping, workers) is kept in `out/search_efficiency/`, so a run that
was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.efficiency_page import write_page
from benchmarks.relu_bench import Table, load
from benchmarks.simulator import STOCK, Replay

STRATEGIES = (
    *("random", "tpe", "gp", "local", "greedy", "evolution", "reinforce", "nsga2"),
    STOCK,
)
TRIALS = 100
"""Trials of a replay; a target that was not reached by then counts as not reached."""
TRUTH = "test_loss"
"""What an incumbent is judged by: on images that no search sees, with seeds it has not used."""


@dataclass(frozen=True, order=True)
class Cell:
    """One condition of the comparison."""

    workers: int
    early_stopping: bool
    strategy: str

    @property
    def name(self) -> str:
        return f"{self.strategy}-{'asha' if self.early_stopping else 'full'}-{self.workers}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one replay gave.

    Attributes:
        regret: after each trial, truth of the incumbent less the best truth in the space, in nats
            of test loss; None before the first incumbent.
        epochs: trained in all, after each trial.
        top5, top1: trials until the incumbent was first among the best 5 % (1 %); None: never.
    """

    regret: list[float | None]
    epochs: list[int]
    top5: int | None
    top1: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16], help="simulated")
    parser.add_argument("--processes", type=int, default=2, help="of this machine")
    parser.add_argument("--work", type=Path, default=Path("out/search_efficiency"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    cells = [Cell(*c) for c in product(arguments.workers, (False, True), STRATEGIES)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for cell in cells:
            file = arguments.work / f"{cell.name}-{arguments.replays}.json"
            if not file.exists():
                seeds = range(arguments.replays)
                outcomes = pool.map(replayed, [cell] * len(seeds), seeds, chunksize=5)
                text = json.dumps([asdict(outcome) for outcome in outcomes])
                file.write_text(text)
                print(cell.name, flush=True)
    write_page(dict(_read(cells, arguments.work, arguments.replays)), TRIALS)


def replayed(cell: Cell, seed: int) -> Outcome:
    """One search of the main table, judged after every trial."""
    table = load()
    order = random.Random(seed).sample(range(table.spec.seeds), table.spec.seeds)
    replay = Replay(
        table=table,
        sampler=cell.strategy,
        trials=TRIALS,
        seeds=order,
        seed=seed,
        workers=cell.workers,
        early_stopping=cell.early_stopping,
    )
    return judged(replay.run(), table, order)


def judged(replay: Replay, table: Table, order: list[int]) -> Outcome:
    """Follow the incumbent: the trial of full length with the least validation loss so far.

    All placements are compared by the mean test loss over the seeds but the first, which nearly
    all trials use; an incumbent by those of them that it was not trained with.
    """
    losses, full = table.final(TRUTH), table.spec.recipe.epochs
    means = losses[:, order[1:]].mean(axis=1)
    allowed = np.sort(means[table.relus >= replay.min_relus])
    limits = [float(allowed[max(1, round(share * len(allowed))) - 1]) for share in (0.05, 0.01)]
    used: dict[int, set[int]] = {}
    best, truth = np.inf, None
    regret: list[float | None] = []
    epochs: list[int] = []
    reached: list[int | None] = [None, None]
    incumbent: int | None = None
    for count, trial in enumerate(replay.ended, start=1):
        used.setdefault(trial.row, {order[0]}).add(trial.seed)
        value = table.final("val_loss")[trial.row, trial.seed]
        is_allowed = table.relus[trial.row] >= replay.min_relus
        if trial.epochs == full and not trial.failed and is_allowed and value < best:
            best, incumbent = value, trial.row
        if incumbent is not None:
            truth = unseen_mean(losses[incumbent], used[incumbent])
            for i, limit in enumerate(limits):
                if reached[i] is None and truth <= limit:
                    reached[i] = count
        regret.append(None if truth is None else truth - float(allowed[0]))
        epochs.append(trial.epochs + (epochs[-1] if epochs else 0))
    return Outcome(regret=regret, epochs=epochs, top5=reached[0], top1=reached[1])


def unseen_mean(losses: NDArray[np.float64], used: set[int]) -> float:
    """Mean over the seeds that were not used; over all if none is left."""
    unseen = [seed for seed in range(len(losses)) if seed not in used]
    return float(losses[unseen or slice(None)].mean())


def _read(cells: list[Cell], work: Path, replays: int) -> Iterator[tuple[Cell, list[Outcome]]]:
    for cell in sorted(cells):
        file = work / f"{cell.name}-{replays}.json"
        yield cell, [Outcome(**outcome) for outcome in json.loads(file.read_text())]


def trials_until(outcomes: list[Outcome], target: str) -> float | None:
    """Median trials until a target; None if fewer than half of the replays got there."""
    reached = median(getattr(outcome, target) or np.inf for outcome in outcomes)
    return float(reached) if np.isfinite(reached) else None


if __name__ == "__main__":
    main()
