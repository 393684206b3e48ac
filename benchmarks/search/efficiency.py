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

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench import Table, load
from benchmarks.search.efficiency_page import write_page
from benchmarks.search.outcomes import Cell, Outcome, read_outcomes, write_outcomes
from benchmarks.search.replays import seed_order
from benchmarks.search.simulator import STOCK, TOLD_COMPLETE, Ended, Replay
from relu_search.analysis.estimates import FEWEST_TO_ESTIMATE
from relu_search.samplers.gp_model import Surrogate
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
TRUTH = "test_loss"
"""What an incumbent is judged by: on images that no search sees, with seeds it has not used."""


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


def judged(ended: list[Ended], table: Table, order: list[int], min_relus: int) -> Outcome:
    """Follow the incumbent: the placement that the leaderboard would show first.

    All placements are compared by the mean test loss over the seeds but the first, which nearly
    all trials use; an incumbent by those of them that it was not trained with.
    """
    losses, finals = table.final(TRUTH), table.final("val_loss")
    means = losses[:, order[1:]].mean(axis=1)
    allowed = np.sort(means[table.relus >= min_relus])
    limits = [float(allowed[max(1, round(share * len(allowed))) - 1]) for share in (0.05, 0.01)]
    used: dict[int, set[int]] = {}
    whole: list[Ended] = []
    regrets: tuple[list[float | None], list[float | None]] = ([], [])
    epochs: list[int] = []
    reached: list[int | None] = [None, None]
    incumbents: tuple[int | None, int | None] = (None, None)
    for count, trial in enumerate(ended, start=1):
        used.setdefault(trial.row, {order[0]}).add(trial.seed)
        epochs.append(trial.epochs + (epochs[-1] if epochs else 0))
        if trial.epochs == table.spec.recipe.epochs and not trial.failed:
            whole.append(trial)
            scores = np.array([-np.log(finals[t.row, t.seed]) for t in whole])
            incumbents = leaders(table, [t.row for t in whole], scores, min_relus)
        for incumbent, regret in zip(incumbents, regrets, strict=True):
            if incumbent is None:
                regret.append(None)
                continue
            truth = unseen_mean(losses[incumbent], used[incumbent])
            regret.append(truth - float(allowed[0]))
            if regret is regrets[0]:
                for i, limit in enumerate(limits):
                    if reached[i] is None and truth <= limit:
                        reached[i] = count
    return Outcome(
        regret=regrets[0],
        lucky_regret=regrets[1],
        epochs=epochs,
        top5=reached[0],
        top1=reached[1],
    )


def leaders(
    table: Table, rows: list[int], scores: NDArray[np.float64], min_relus: int
) -> tuple[int | None, int | None]:
    """Rows of the table that lead: by the model's estimate, and by the best single run."""
    bits = np.array([[int(bit) for bit in table.spec.placements[row].bits] for row in rows])
    estimated = scores
    if len(rows) >= FEWEST_TO_ESTIMATE:
        estimated = Surrogate.fit(bits, scores).predict(bits)[0]
    allowed = [i for i, row in enumerate(rows) if table.relus[row] >= min_relus]
    if not allowed:
        return None, None
    first, second = (rows[max(allowed, key=by.__getitem__)] for by in (estimated, scores))
    return first, second


def unseen_mean(losses: NDArray[np.float64], used: set[int]) -> float:
    """Mean over the seeds that were not used; over all if none is left."""
    unseen = [seed for seed in range(len(losses)) if seed not in used]
    return float(losses[unseen or slice(None)].mean())


if __name__ == "__main__":
    main()
