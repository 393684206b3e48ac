"""How many trainings each strategy needs, replayed against ReLU-Bench.

```bash
python -m benchmarks.search.efficiency            # replays what is missing, writes the page
```

Each cell (table, strategy, early stopping, workers) is kept in `out/search_efficiency/`, so a run
that was cut off goes on.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from benchmarks.relu_bench import load
from benchmarks.replay.judging import Outcome, judged
from benchmarks.replay.replays import seed_order
from benchmarks.replay.simulator import STOCK, TOLD_COMPLETE, Replay
from benchmarks.search.efficiency.outcomes import Cell, read_outcomes, write_outcomes
from benchmarks.search.efficiency.page import write_page
from relu_search.settings.search_options import COARSE_TO_FINE

STRATEGIES = (
    *("random", "tpe", "gp", "local", "greedy", "evolution", "reinforce", "nsga2"),
    STOCK,
)
VARIANTS = (
    (1, f"tpe{TOLD_COMPLETE}"),
    (1, f"gp{TOLD_COMPLETE}"),
    (1, "tpe, univariate"),
    (1, "tpe, grouped"),
    (16, "tpe, no constant liar"),  # of no effect where no other trial runs
    (1, COARSE_TO_FINE),
)
"""Further strategies, with ASHA and so many workers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16], help="simulated")
    parser.add_argument("--processes", type=int, default=2, help="of this machine")
    parser.add_argument("--work", type=Path, default=Path("out/search_efficiency"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    with ProcessPoolExecutor(arguments.processes) as pool:
        for cell in cells(arguments.workers):
            file = arguments.work / f"{cell.name}-{arguments.replays}.json"
            if not file.exists():
                seeds = range(arguments.replays)
                replays = pool.map(replayed, [cell] * len(seeds), seeds, chunksize=5)
                write_outcomes(file, list(replays))
                print(cell.name, flush=True)
            outcomes[cell] = read_outcomes(file)
    write_page(outcomes)


def cells(workers: list[int]) -> list[Cell]:
    """Every condition: all strategies on plain-12, and the variants."""
    main_table = [Cell("plain-12", *c) for c in product(workers, (True, False), STRATEGIES)]
    variants = [Cell("plain-12", count, True, name) for count, name in VARIANTS]
    return [*main_table, *variants]


def replayed(cell: Cell, seed: int) -> Outcome:
    """One search of a table, judged after every trial."""
    table = load(cell.table)
    order = seed_order(table, seed)
    replay = Replay(
        table=table,
        sampler=cell.strategy,
        trials=cell.trials,
        seeds=order,
        seed=seed,
        workers=cell.workers,
        early_stopping=cell.early_stopping,
    )
    return judged(replay.run(), table, order, replay.min_relus)


if __name__ == "__main__":
    main()
