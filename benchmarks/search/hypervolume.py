"""Does a search for two objectives find the trade-off? Replayed against ReLU-Bench.

```bash
python -m benchmarks.search.hypervolume            # writes the table of benchmarks/hypervolume.md
```
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.judging import quartiles
from benchmarks.replay.replays import full_length, seed_order
from benchmarks.replay.simulator import Ended, Replay
from relu_search.analysis.estimates import FEWEST_TO_ESTIMATE
from relu_search.samplers.gp_model import Surrogate

PAGE = Path(__file__).parents[1] / "hypervolume.md"
STRATEGIES = ("gp", "tpe", "evolution", "local", "greedy", "nsga2", "random")
BUDGETS = (26, 51, 102)
"""Trainings: 2.5 %, 5 % and 10 % of the table's placements."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Hypervolume of loss and ReLUs, by replay.")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    conditions = list(product((True, False), STRATEGIES))
    jobs = [(*c, seed) for c in conditions for seed in range(arguments.replays)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        shares = list(pool.map(replayed, *zip(*jobs, strict=True), chunksize=10))
    found = {
        condition: np.array(shares[i * arguments.replays : (i + 1) * arguments.replays])
        for i, condition in enumerate(conditions)
    }
    write_below_mark(PAGE, tables(found, arguments.replays))


def replayed(early_stopping: bool, sampler: str, seed: int) -> list[float]:
    """Share of the true hypervolume that the reported front has, after each of `BUDGETS`."""
    table = load()
    order = seed_order(table, seed)
    replay = Replay(
        table=table,
        sampler=sampler,
        trials=max(BUDGETS),
        seeds=order,
        seed=seed,
        early_stopping=early_stopping,
        costs=("relus",),
        min_relus=0,
        references=False,
    )
    ended = replay.run()
    truth = table.final("test_loss")[:, order[1:]].mean(axis=1)
    whole = hypervolume(table, range(len(truth)), truth)
    return [hypervolume(table, front(table, ended[:budget]), truth) / whole for budget in BUDGETS]


def front(table: Table, ended: Sequence[Ended]) -> list[int]:
    """Rows that the search would report: no other has fewer ReLUs and a lower estimated loss."""
    whole = full_length(table, ended)
    scores = np.array([-np.log(table.final("val_loss")[t.row, t.seed]) for t in whole])
    rows = [t.row for t in whole]
    if len(rows) >= FEWEST_TO_ESTIMATE:
        bits = np.array([[int(bit) for bit in table.spec.placements[row].bits] for row in rows])
        scores = Surrogate.fit(bits, scores).predict(bits)[0]
    return [
        row
        for row, score in zip(rows, scores, strict=True)
        if not any(
            (table.relus[other] <= table.relus[row] and better > score)
            or (table.relus[other] < table.relus[row] and better >= score)
            for other, better in zip(rows, scores, strict=True)
        )
    ]


def hypervolume(table: Table, rows: Sequence[int], truth: NDArray[np.float64]) -> float:
    """Area between the front of true means and the reference: median loss, one ReLU over all.

    The area is a sum over ReLU counts 0 to 10 of what the best placement with at most so many
    ReLUs gains over the median loss of the table.
    """
    limit = float(np.median(truth))
    sites = len(table.spec.space.backbone.sites)
    area = 0.0
    for count in range(sites + 1):
        best = min((float(truth[row]) for row in rows if table.relus[row] <= count), default=limit)
        area += max(0.0, limit - best)
    return area


def tables(found: dict[tuple[bool, str], NDArray[np.float64]], replays: int) -> str:
    parts = []
    for stopping in (True, False):
        lines = [
            f"### {'With' if stopping else 'Without'} early stopping",
            "",
            f"{replays} replays; share of the true hypervolume in percent, median [quartiles], by "
            "trainings.",
            "",
            f"| strategy | {' | '.join(map(str, BUDGETS))} | at least 90 % with {BUDGETS[-1]} |",
            "|---" * (len(BUDGETS) + 2) + "|",
        ]
        mine = {name: shares for (asha, name), shares in found.items() if asha == stopping}
        for name, shares in sorted(mine.items(), key=lambda item: -np.median(item[1][:, -1])):
            cells = [_percent(shares[:, i]) for i in range(len(BUDGETS))]
            reached = f"{100 * np.mean(shares[:, -1] >= 0.9):.0f} % of replays"
            lines.append(f"| {name} | {' | '.join(cells)} | {reached} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _percent(shares: NDArray[np.float64]) -> str:
    low, middle, high = quartiles((100 * shares).tolist())
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
