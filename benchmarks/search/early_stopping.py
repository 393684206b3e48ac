"""What may early stopping look at, what does it save, and what does it lose? By replay.

```bash
python -m benchmarks.search.early_stopping         # writes the tables of early_stopping.md
```
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.replays import in_processes, seed_order
from benchmarks.replay.simulator import Ended, Replay

PAGE = Path(__file__).parents[1] / "early_stopping.md"
TABLES = ("plain-12", "preresnet-8", "plain-20-colour", "plain-20-colour-short")
TRIALS = 100
WORKERS = (1, 16, 64)
SAMPLERS = ("random", "gp")
_SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24)
table_of = lru_cache(load)


def main() -> None:
    parser = argparse.ArgumentParser(description="Early stopping, replayed against ReLU-Bench.")
    parser.add_argument("--replays", type=int, default=100, help="searches per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    conditions = list(product(TABLES, SAMPLERS, WORKERS))
    searches = in_processes(replayed, conditions, **vars(arguments))
    rows = [rule_row(*c, found) for c, found in zip(conditions, searches, strict=True)]
    parts = [*map(signals_table, TABLES), rule_table(rows, arguments.replays)]
    write_below_mark(PAGE, "\n\n".join(parts) + "\n")


def replayed(name: str, sampler: str, workers: int, seed: int) -> list[Ended]:
    """One search with the default early stopping."""
    table = table_of(name)
    order = seed_order(table, seed)
    return Replay(
        table=table, sampler=sampler, trials=TRIALS, seeds=order, workers=workers, seed=seed
    ).run()


def truth_of(table: Table, without: int | None = None) -> NDArray[np.float64]:
    """Mean final test loss of each placement over the seeds, one of them left out."""
    seeds = [seed for seed in range(table.spec.seeds) if seed != without]
    return np.asarray(np.nanmean(table.final("test_loss")[:, seeds], axis=1))


def best(table: Table, share: float) -> NDArray[np.intp]:
    """Rows of the truly best placements."""
    truth = truth_of(table)
    return np.argsort(truth)[: max(1, round(share * len(truth)))]


def signals_of(table: Table) -> dict[str, NDArray[np.float64]]:
    """Name -> (placements, seeds, epochs); smaller is better."""
    metrics = table.metrics
    sums = np.cumsum(metrics["train_loss"], axis=2)
    signals = {
        "validation loss": metrics["val_loss"],
        "validation accuracy": -metrics["val_accuracy"],
        "train loss": metrics["train_loss"],
        "sum of train losses": sums,
        "sum and validation loss, mean of ranks": _ranks(sums) + _ranks(metrics["val_loss"]),
    }
    if "precise_val_loss" in metrics:
        signals["validation loss, BatchNorm recomputed"] = metrics["precise_val_loss"]
    return signals


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rankdata(values, axis=0))


def signals_table(name: str) -> str:
    """How well each signal of one training tells the truth, by epoch."""
    table = table_of(name)
    epochs = [e for e in _SHOWN if e < table.spec.recipe.epochs]
    lines = [
        f"### Signals on {name}",
        "",
        f"{len(table.relus)} placements, {table.spec.seeds} seeds, {table.spec.recipe.epochs} "
        "epochs. In each cell: Spearman correlation of one training's signal with the mean final "
        "test loss over the other seeds; share of the trainings of the true best 5 % and 10 % that "
        "would be thrown away if only the best third went on there.",
        "",
        f"| signal | {' | '.join(f'epoch {e}' for e in epochs)} |",
        "|---" * (len(epochs) + 1) + "|",
    ]
    for signal, values in signals_of(table).items():
        lines.append(
            f"| {signal} | {' | '.join(_cell(table, values[:, :, e - 1]) for e in epochs)} |"
        )
    return "\n".join(lines)


def _cell(table: Table, values: NDArray[np.float64]) -> str:
    seeds = range(table.spec.seeds)
    rho = np.mean([spearmanr(values[:, s], truth_of(table, s)).statistic for s in seeds])
    lost = rankdata(values) > values.size / 3
    lost = lost.reshape(values.shape)
    five, ten = (100 * lost[best(table, share)].mean() for share in (0.05, 0.1))
    return f"{rho:.2f}; {five:.0f}, {ten:.0f} %"


def rule_row(
    name: str, sampler: str, workers: int, searches: Sequence[Sequence[Ended]]
) -> list[str]:
    """What the rule saved and lost in the searches of one condition."""
    table = table_of(name)
    epochs = table.spec.recipe.epochs
    every = [one for search in searches for one in search]
    whole = epochs * len(every)
    trained = sum(one.epochs for one in every)
    free = [one for one in every if not one.protected and not one.failed]
    trusted = [(one, one.trusted_at) for one in free if one.trusted_at is not None]
    top = best(table, 0.1)
    poor = [(one, at) for one, at in trusted if one.row not in top]
    audits = [one for one in free if one.audited]
    return [
        name,
        sampler,
        str(workers),
        f"{1 - trained / whole:.0%}",
        _saved(trusted, epochs),
        _saved(poor, epochs),
        *(_lost(free, best(table, share), epochs) for share in (0.05, 0.1)),
        f"{sum(epochs - at for one, at in trusted if one.audited) / whole:.1%}",
        f"{sum(one.row in top for one in audits)} of {len(audits)}",
    ]


def _saved(trusted: Sequence[tuple[Ended, int]], epochs: int) -> str:
    """Share of the epochs after a trusted rung that were not trained, and the number of trials."""
    possible = sum(epochs - at for _, at in trusted)
    saved = sum(epochs - one.epochs for one, _ in trusted)
    return f"{saved / possible:.0%} ({len(trusted)} trials)" if possible else "no such trial"


def _lost(free: Sequence[Ended], rows: NDArray[np.intp], epochs: int) -> str:
    mine = [one for one in free if one.row in rows]
    stopped = sum(one.epochs < epochs for one in mine)
    return f"{stopped / len(mine):.1%} ({stopped} of {len(mine)})" if mine else "none proposed"


def rule_table(rows: Sequence[Sequence[str]], replays: int) -> str:
    head = (
        "table",
        "sampler",
        "workers",
        "epochs saved",
        "saved of the epochs after a trusted rung",
        "of those outside the true best 10 %",
        "stopped of the true best 5 %",
        "of the best 10 %",
        "epochs spent on audits",
        "audits among the best 10 %",
    )
    lines = [
        "### The rule at work",
        "",
        f"{replays} searches of {TRIALS} trials for each row, by the real proposer and the real "
        "scheduler. Hand-designed modules and further seeds are never stopped; they count under "
        "the epochs saved, and not under the stopped ones.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
