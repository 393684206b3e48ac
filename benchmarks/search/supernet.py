"""Does a supernet's rank save trainings? Measured on plain-12 of ReLU-Bench.

```bash
python -m benchmarks.search.supernet --supernets 5 --replays 20     # writes benchmarks/supernet.md
```
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.judging import judged, quartiles
from benchmarks.replay.replays import seed_order
from benchmarks.replay.simulator import Replay
from benchmarks.search.efficiency.outcomes import TRIALS
from relu_search.search.warm_start import EPOCHS_FACTOR
from search_spaces import Placement
from trials import load_data
from trials.training.supernet import Supernet, rank

PAGE = Path(__file__).parents[1] / "supernet.md"
_ADVISED = TRIALS // 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernets", type=int, default=5)
    parser.add_argument("--replays", type=int, default=20, help="of each supernet's advice")
    arguments = parser.parse_args()
    table = load()
    truth = table.final("val_loss").mean(axis=1)
    lines = [
        f"{arguments.supernets} supernets, each trained for {EPOCHS_FACTOR} times the epochs of a "
        "trial and then asked about every placement.",
        "",
        "| seed | tau, all | tau within a ReLU count | best true rank among its first 10 |",
        "|---|---|---|---|",
    ]
    advice = []
    for seed in range(arguments.supernets):
        ranking = ranked(table, seed)
        advice.append(ranking)
        lines.append(f"| {seed} | {' | '.join(_agreement(table, truth, ranking))} |")
    lines += ["", "| search | trials to top 1 % | reached in 100 |", "|---|---|---|"]
    for sampler in ("gp", "random"):
        for warm in (False, True):
            found = [
                _until_top1(table, sampler, ranking if warm else [], replay)
                for ranking in advice
                for replay in range(arguments.replays)
            ]
            low, middle, high = (
                f"> {TRIALS}" if np.isinf(x) else f"{x:.0f}" for x in quartiles(found)
            )
            share = sum(count is not None for count in found) / len(found)
            name = f"{sampler}, {'with' if warm else 'without'} advice"
            lines.append(f"| {name} | {middle} [{low}, {high}] | {100 * share:.0f} % |")
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def ranked(table: Table, seed: int) -> list[int]:
    """Rows of the table, best first, by a supernet with this seed; all-linear left out."""
    spec = table.spec
    data = load_data(
        spec.data, train_limit=spec.train_images, validation_images=spec.validation_images
    )
    space = spec.space
    trial = spec.trial(Placement("1" * len(space.backbone.sites)), seed)
    recipe = replace(trial.recipe, epochs=EPOCHS_FACTOR * trial.recipe.epochs)
    net = Supernet.train(
        replace(trial, recipe=recipe), data, lambda rng: space.decode(space.sample(rng))
    )
    rows = [p for p in spec.placements if p.kept]
    return [table.row_of[placement.bits] for placement, _, _ in rank(net, rows)]


def _agreement(table: Table, truth: NDArray[np.float64], ranking: list[int]) -> list[str]:
    place = np.argsort(ranking)  # position of the sorted rows
    rows = np.sort(ranking)
    tau = kendalltau(place, truth[rows]).statistic
    within = [
        kendalltau(place[mine], truth[rows[mine]]).statistic
        for count in range(2, 9)
        for mine in [table.relus[rows] == count]
    ]
    true_rank = 1 + np.argsort(np.argsort(truth[rows]))
    first = min(true_rank[np.isin(rows, ranking[:10])])
    return [f"{tau:.2f}", f"{median(within):.2f}", f"{first} of {len(rows)}"]


def _until_top1(table: Table, sampler: str, ranking: list[int], seed: int) -> float | None:
    order = seed_order(table, seed)
    replay = Replay(
        table=table,
        sampler=sampler,
        trials=TRIALS,
        seeds=order,
        seed=seed,
        first=tuple(table.spec.placements[row] for row in ranking[:_ADVISED]),
    )
    return judged(replay.run(), table, order, replay.min_relus).top1


if __name__ == "__main__":
    main()
