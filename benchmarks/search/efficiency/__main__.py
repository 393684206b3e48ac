"""How good is the leader of each strategy, and of simple rules, after 10 to 100 trials?

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

from benchmarks.replay.baselines import RULES
from benchmarks.replay.judging import regrets
from benchmarks.replay.simulator import STOCK, Replay
from benchmarks.replay.tables import TABLES, ground_of
from benchmarks.search.efficiency.outcomes import (
    AFTER,
    TRIALS,
    Cell,
    Outcome,
    read_outcomes,
    write_outcomes,
)
from benchmarks.search.efficiency.page import HAND_DESIGNED, write_page

STRATEGIES = ("gp", *RULES, "random", "local", "greedy", "evolution", "tpe", STOCK)
CONDITIONS = ((1, False), (1, True), (16, True), (16, False))
"""(workers, early stopping)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("out/search_efficiency"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    with ProcessPoolExecutor(arguments.processes) as pool:
        for cell in cells():
            file = arguments.work / f"{cell.name}-{arguments.replays}.json"
            if not file.exists():
                seeds = range(arguments.replays)
                replays = pool.map(replayed, [cell] * len(seeds), seeds, chunksize=2)
                write_outcomes(file, list(replays))
                print(cell.name, flush=True)
            outcomes[cell] = read_outcomes(file)
    write_page(outcomes)


def cells() -> list[Cell]:
    """Every condition that has a meaning."""
    found = [Cell(t, *c, s) for c, t, s in product(CONDITIONS, TABLES, STRATEGIES)]
    modules = {table: ground_of(table, 0).has_modules for table in TABLES}
    return [cell for cell in found if modules[cell.table] or cell.strategy != HAND_DESIGNED]


def replayed(cell: Cell, seed: int) -> Outcome:
    """One search of a table."""
    ground = ground_of(cell.table, seed)
    ended = Replay(
        table=ground.table,
        sampler=cell.strategy,
        trials=TRIALS,
        seeds=ground.seeds,
        seed=seed,
        workers=cell.workers,
        early_stopping=cell.early_stopping,
        min_relus=ground.min_relus,
        references=ground.has_modules,
    ).run()
    return Outcome(
        regrets=regrets(ended, ground, AFTER),
        limit=ground.limit - ground.best,
        epochs=sum(trial.epochs for trial in ended),
    )


if __name__ == "__main__":
    main()
