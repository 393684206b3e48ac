"""How often does the set of ratios of `confirm --ratios` contain the best one? By simulation.

```bash
python -m benchmarks.verdicts.ratio_sets           # writes ratio_sets.md, a few minutes
```
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import load
from benchmarks.verdicts.paths import NOISES, Floats
from relu_search.ratios.curve import ratio_curve

PAGE = Path(__file__).parents[1] / "ratio_sets.md"
TABLES = ("plain-12", "preresnet-8", "plain-20-colour", "plain-20-colour-short")
RATIOS = 5
SEEDS = (6, 12)


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """What one confirmation compares: the best placement of each of several ratios.

    Attributes:
        name: of the table, or of a case that is made up.
        truth: (ratios,) true accuracies.
        own: (ratios,) sd of the noise of a single run.
        shared: sd of what all runs of a seed have in common.
    """

    name: str
    truth: tuple[float, ...]
    own: tuple[float, ...]
    shared: float

    def runs(self, noise: str, seeds: int, rng: np.random.Generator) -> Floats:
        """Accuracies, (ratios, seeds)."""
        draw = NOISES[noise]
        own = np.array(self.own)[:, None] * draw(rng, (len(self.own), seeds))
        return np.array(self.truth)[:, None] + own + self.shared * draw(rng, (1, seeds))


@dataclass(frozen=True, kw_only=True)
class Held:
    """Many confirmations.

    Attributes:
        has_best: share of the sets that have the best ratio; of several equally good ones, that
            which is left out most often.
        intervals: share in which all intervals contain their means.
        size: mean number of ratios in a set.
    """

    has_best: float
    intervals: float
    size: float


def of_table(name: str) -> Ratios:
    """The best placement of each of five ratios, spread evenly over those of a table."""
    table = load(name)
    accuracy = table.final("val_accuracy")
    means = np.nanmean(accuracy, axis=1)
    counts = np.unique(table.relus[table.relus >= 1])
    chosen = counts[np.linspace(0, len(counts) - 1, RATIOS).round().astype(int)]
    best = [max(np.flatnonzero(table.relus == one), key=lambda row: means[row]) for one in chosen]
    runs = accuracy[best]
    shared = np.nanvar(np.nanmean(runs - means[best][:, None], axis=0), ddof=1)
    own = np.sqrt(np.maximum(np.nanvar(runs, axis=1, ddof=1) - shared, 1e-8))
    return Ratios(
        name=name,
        truth=tuple(means[best].tolist()),
        own=tuple(own.tolist()),
        shared=float(np.sqrt(shared)),
    )


def made_up() -> Iterator[Ratios]:
    """Five equal ratios, with equal and with unequal noise."""
    yield Ratios(name="five equal ratios", truth=(0.0,) * 5, own=(1.0,) * 5, shared=1.0)
    unequal = (0.5, 1.0, 2.0, 1.0, 0.5)
    yield Ratios(name="five equal ratios, noise 1:2:4", truth=(0.0,) * 5, own=unequal, shared=1.0)


def simulate(ratios: Ratios, noise: str, seeds: int, confirmations: int) -> Held:
    """Confirm many times with fresh noise, by the rule of `confirm --ratios`."""
    rng = np.random.default_rng([seeds, *noise.encode()])
    in_set, within = np.zeros(len(ratios.truth)), 0
    for _ in range(confirmations):
        runs = ratios.runs(noise, seeds, rng)
        scores = {str(i): dict(enumerate(row)) for i, row in enumerate(runs.tolist())}
        points = ratio_curve(scores).points
        in_set += [point.in_set for point in points]
        within += all(
            point.low is not None and point.high is not None and point.low <= truth <= point.high
            for point, truth in zip(points, ratios.truth, strict=True)
        )
    shares = in_set / confirmations
    return Held(
        has_best=float(shares[np.array(ratios.truth) == max(ratios.truth)].min()),
        intervals=within / confirmations,
        size=float(shares.sum()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Sets of ratios on fresh seeds, simulated.")
    parser.add_argument("--confirmations", type=int, default=2_000, help="per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    cases = list(product([*map(of_table, TABLES), *made_up()], NOISES, SEEDS))
    with ProcessPoolExecutor(arguments.processes) as pool:
        columns = zip(*cases, strict=True)
        found = list(pool.map(simulate, *columns, [arguments.confirmations] * len(cases)))
    lines = [
        f"{arguments.confirmations:,} confirmations per row, {RATIOS} ratios.",
        "",
        "| ratios of | noise | seeds | set has the best ratio | ratios in the set "
        "| all intervals contain their mean |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {ratios.name} | {noise} | {seeds} | {held.has_best:.1%} | {held.size:.1f} "
        f"| {held.intervals:.1%} |"
        for (ratios, noise, seeds), held in zip(cases, found, strict=True)
    ]
    write_below_mark(PAGE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
