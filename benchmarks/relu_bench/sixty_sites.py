"""Make the synthetic table `sixty-sites`: train placements, fit a model, train near its optimum.

```bash
python -m benchmarks.relu_bench.sixty_sites     # 50 minutes on one core
```

Each training is one line of `out/relu_bench/sixty-sites.jsonl`. If the command is started again, it
continues after the last line.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.relu_bench.build import rows_of, train_missing
from benchmarks.relu_bench.images import images_of
from benchmarks.relu_bench.placement_model import (
    Floats,
    Penalties,
    PlacementModel,
    Trainings,
    fitted_best,
    held_out,
)
from benchmarks.relu_bench.reliability import reliability
from benchmarks.relu_bench.specs import SIXTY_SITES, TableSpec
from benchmarks.relu_bench.synthetic import (
    TRUTH,
    SyntheticTable,
    modelled,
    plain,
    points_of,
    save,
    target_of,
)
from search_spaces import Placement, SearchSpace, reference_modules

Run = tuple[Placement, int]
"""A placement and the seed of its training."""
PACK = 8
REPEATED, UNIFORM, BY_STAGE = 40, 260, 60
CHANGED, SIMILAR, FARTHEST = 140, 60, 15
ROUNDS = 3
"""Of trainings; a model is fitted after each, and the next one is near its optimum."""
LANDSCAPE = (0, 1, 2, 3, 5, 8, 10, 12, 15, 18, 20, 25, 30, 40, 50, 60)
"""Numbers of ReLUs of which the report says how good placements are."""


def first_design(spec: TableSpec) -> list[Run]:
    """Trainings of placements of all densities.

    `REPEATED` placements with every seed: the hand-designed modules, all-linear, and random ones
    with evenly spaced numbers of ReLUs. With one seed each, in turn: `UNIFORM` random ones, whose
    numbers of ReLUs are uniform; one pattern for each stage, all of them; and `BY_STAGE` whose
    stages keep the first and the second ReLU of a block with probabilities of their own.
    """
    rng = random.Random(0)
    backbone = spec.space.backbone
    count = len(backbone.sites)
    repeated = list(reference_modules(backbone).values())
    evenly = REPEATED - len(repeated)
    repeated += [drawn(rng, count, round((i + 0.5) * count / evenly)) for i in range(evenly)]
    once = [drawn(rng, count, rng.randint(0, count)) for _ in range(UNIFORM)]
    once += SearchSpace(backbone, "stage", min_relus=0).enumerate()
    for _ in range(BY_STAGE):
        keeps = [[rng.random() for _ in range(2)] for _ in range(3)]
        chances = [keeps[site.stage][site.positions[0]] for site in backbone.sites]
        once.append(Placement("".join("01"[rng.random() < chance] for chance in chances)))
    runs = [(placement, seed) for seed in range(spec.seeds) for placement in repeated]
    runs += [(placement, i % spec.seeds) for i, placement in enumerate(once)]
    return list(dict.fromkeys(runs))


def drawn(rng: random.Random, sites: int, kept: int) -> Placement:
    """A random placement with a given number of ReLUs."""
    chosen = set(rng.sample(range(sites), kept))
    return Placement("".join("01"[site in chosen] for site in range(sites)))


def next_design(spec: TableSpec, model: PlacementModel, number: int) -> list[Run]:
    """Trainings near the optimum of a model of the earlier ones.

    The optimum with every seed. With one seed each, in turn: the best placement of every third
    number of ReLUs; the optimum with up to `FARTHEST` bits changed; and random ones whose numbers
    of ReLUs are at most `FARTHEST` from the optimum's.
    """
    rng = random.Random(number)
    count = len(spec.space.backbone.sites)
    target = target_of(spec, TRUTH)
    best = model.lowest(target, range(1, count + 1))[0]
    runs = [(Placement(best), seed) for seed in range(spec.seeds)]
    once = [Placement(model.lowest(target, [kept])[0]) for kept in range(1, count + 1, 3)]
    for _ in range(CHANGED):
        changed = set(rng.sample(range(count), rng.randint(1, FARTHEST)))
        bits = ("10"[int(bit)] if site in changed else bit for site, bit in enumerate(best))
        once.append(Placement("".join(bits)))
    middle = best.count("1")
    for _ in range(SIMILAR):
        kept = rng.randint(max(1, middle - FARTHEST), min(count, middle + FARTHEST))
        once.append(drawn(rng, count, kept))
    runs += [(placement, i % spec.seeds) for i, placement in enumerate(once)]
    return list(dict.fromkeys(runs))


def check_design(spec: TableSpec, model: PlacementModel) -> list[Run]:
    """Trainings that no model is fitted to.

    The best placement, and the worst with the same number of ReLUs, with every seed.
    """
    target = target_of(spec, TRUTH)
    best, _ = model.lowest(target, range(1, len(spec.space.backbone.sites) + 1))
    worst, _ = model.negated().lowest(target, [best.count("1")])
    return [(Placement(bits), seed) for bits in (best, worst) for seed in range(spec.seeds)]


def trained(spec: TableSpec, runs: Sequence[Run], log: Path) -> list[dict[str, Any]]:
    """The lines of these runs, in their order; what is missing is trained.

    Raises:
        ValueError: a training failed.
    """
    train_missing(spec, log, runs, pack_size=PACK)
    found = {(row["bits"], row["seed"]): row for row in rows_of(log)}
    rows = [found[placement.bits, seed] for placement, seed in runs]
    failed = [row for row in rows if row["failure"]]
    if failed:
        raise ValueError(f"{len(failed)} trainings failed, such as {failed[0]}")
    return rows


def trainings_of(spec: TableSpec, rows: Sequence[dict[str, Any]]) -> Trainings:
    """Lines of the log on the scale of the model."""
    data, test = images_of(spec)
    images = {"train": data.train, "val": data.validation, "test": test}
    values = [
        modelled(
            metric,
            np.array([row[metric] for row in rows]),
            len(images[metric.partition("_")[0]].labels),
        )
        for metric in spec.metrics
    ]
    sites = spec.space.backbone.sites
    stages = [site.stage for site in sites]
    blocks = np.array([site.block for site in sites])
    return Trainings(
        points_of([row["bits"] for row in rows]),
        np.array([row["seed"] for row in rows]),
        np.hstack(values),
        tuple(np.bincount(stages).tolist()),
        blocks[1:] == blocks[:-1],
    )


def deviations_of(values: Floats) -> Floats:
    """What trainings have beside the mean of their placement and the effect of their seed.

    They are scaled up for the means that were taken out.

    Args:
        values: (placements, seeds, targets).
    """
    left = values - values.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0)
    for axis in (0, 1):
        left = left * np.sqrt(values.shape[axis] / (values.shape[axis] - 1))
    return left


@dataclass(frozen=True)
class Made:
    """The table, and what it was made from.

    Attributes:
        data: all trainings that the model is fitted to; the repeated ones come first.
        penalties: of each target.
        optima: of the models of earlier rounds: bits, and the logarithm of `TRUTH` by that model.
        rows: the log's lines of the fitted trainings and then of the check.
    """

    table: SyntheticTable
    data: Trainings
    penalties: list[Penalties]
    optima: list[tuple[str, float]]
    rows: list[dict[str, Any]]


def made(spec: TableSpec, log: Path) -> Made:
    """Train what the log lacks, and fit the table."""
    runs = first_design(spec)
    optima: list[tuple[str, float]] = []
    for number in range(1, ROUNDS):
        model, _, _ = fitted_best(trainings_of(spec, trained(spec, runs, log)))
        optima.append(model.lowest(target_of(spec, TRUTH), range(1, len(model.sites) + 1)))
        runs = list(dict.fromkeys(runs + next_design(spec, model, number)))
    rows = trained(spec, runs, log)
    data = trainings_of(spec, rows)
    model, seed_effects, penalties = fitted_best(data)
    repeats = spec.seeds, REPEATED
    table = SyntheticTable(
        spec=spec,
        model=model,
        seed_effects=seed_effects,
        deviations=deviations_of(by_placement(data.values, *repeats)),
        repeated=data.points[:REPEATED].sum(axis=1).astype(float),
        seconds=by_placement(np.array([row["seconds"] for row in rows]), *repeats),
    )
    rows = rows + trained(spec, check_design(spec, model), log)
    return Made(table, data, penalties, optima, rows)


def by_placement(values: Floats, seeds: int, placements: int) -> Floats:
    """(placements, seeds, ...) of (trainings, ...), whose first ones are seed by seed."""
    return values[: seeds * placements].reshape(seeds, placements, *values.shape[1:]).swapaxes(0, 1)


def report(result: Made) -> str:
    """What the datasheet says of the table, as Markdown."""
    return "\n\n".join(
        [
            _trainings(result),
            _held_out(result),
            _landscape(result.table),
            _checks(result),
        ]
    )


def _trainings(result: Made) -> str:
    spec = result.table.spec
    losses = by_placement(result.data.values, spec.seeds, REPEATED)[..., target_of(spec, TRUTH)]
    icc = reliability(losses, np.zeros(REPEATED, dtype=np.int64))
    seconds = sum(row["seconds"] for row in result.rows)
    noise = np.std(result.table.deviations[..., target_of(spec, TRUTH)], axis=1)
    order = np.argsort(result.table.repeated)
    thirds = [f"{np.sqrt((noise[part] ** 2).mean()):.3f}" for part in np.array_split(order, 3)]
    seeds = result.table.seed_effects[:, target_of(spec, TRUTH)].std(ddof=1)
    return (
        f"{len(result.data.points)} trainings of {result.data.placements.max() + 1} placements, "
        f"and {len(result.rows) - len(result.data.points)} of the check; {seconds:.0f} s.\n"
        f"ICC of log {TRUTH} over {REPEATED} placements and {spec.seeds} seeds: one training "
        f"{icc.single:.2f}, mean {icc.mean:.2f}. Standard deviation of the seeds' effects "
        f"{seeds:.3f}, of the deviations by thirds of the ReLUs {', '.join(thirds)}."
    )


def _held_out(result: Made) -> str:
    """Per metric and epoch: how well held-out placements are predicted."""
    data, spec = result.data, result.table.spec
    lines = [
        "| log or logit of | R2, ReLUs only | R2, no pairs | R2, chosen | highest possible R2 "
        "| rank correlation with means | at equal counts: R2 | highest possible |",
        "|---|---|---|---|---|---|---|---|",
    ]
    means = by_placement(data.values, spec.seeds, REPEATED).mean(axis=1)
    for metric, epoch in product(spec.metrics, range(1, spec.recipe.epochs + 1)):
        target = spec.metrics.index(metric) * spec.recipe.epochs + epoch - 1
        one = replace(data, values=data.values[:, [target]])
        chosen = result.penalties[target]
        only_counts = replace(chosen, sites=np.inf, pairs=np.inf, stages=np.inf)
        effects = result.table.seed_effects[data.seeds, target]
        values = one.values[:, 0]
        total = np.var(values - effects)
        predicted = {
            name: held_out(one, penalties)[:, 0]
            for name, penalties in (
                ("counts", only_counts),
                ("no pairs", replace(chosen, pairs=np.inf)),
                ("chosen", chosen),
            )
        }
        errors = {name: np.mean((found - values) ** 2) for name, found in predicted.items()}
        noise = (result.table.deviations[..., target] ** 2).mean()
        ranked = (predicted["chosen"] - effects)[:REPEATED]
        cells = [1 - errors[name] / total for name in ("counts", "no pairs", "chosen")]
        cells += [1 - noise / total, spearmanr(ranked, means[:, target])[0]]
        cells += [1 - errors["chosen"] / errors["counts"], 1 - noise / errors["counts"]]
        lines.append(
            f"| {metric}, epoch {epoch} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |"
        )
    return "\n".join(lines)


def _landscape(table: SyntheticTable) -> str:
    """How good random placements of each number of ReLUs are, and the best of it."""
    rng = random.Random(2)
    count = len(table.spec.space.backbone.sites)
    target = target_of(table.spec, TRUTH)
    lines = [
        f"| ReLUs | best {TRUTH} | random: mean | 5 % to 95 % | sd of the log |",
        "|---|---|---|---|---|",
    ]
    for kept in (n for n in LANDSCAPE if n <= count):
        truth = table.truth(points_of([drawn(rng, count, kept).bits for _ in range(2000)]))
        best = plain(TRUTH, np.array([table.model.lowest(target, [kept])[1]]))[0]
        low, high = np.quantile(truth, (0.05, 0.95))
        lines.append(
            f"| {kept} | {best:.4f} | {truth.mean():.4f} | {low:.4f} to {high:.4f} "
            f"| {np.log(truth).std():.3f} |"
        )
    bits, best = table.best
    lines += ["", f"Best: {Placement(bits).text} ({bits.count('1')} ReLUs), {best:.4f}."]
    for name, placement in reference_modules(table.spec.space.backbone).items():
        known = float(table.truth(points_of([placement.bits]))[0])
        lines.append(f"{name}: {known:.4f}, regret {known - best:.4f}.")
    uniform = table.truth(np.random.default_rng(0).integers(0, 2, size=(100_000, count)))
    lines.append(f"100,000 uniform placements: {uniform.min():.4f} to {uniform.max():.4f}.")
    return "\n".join(lines)


def _checks(result: Made) -> str:
    """What is predicted of the optima of all rounds, and what trainings gave."""
    table = result.table
    known: dict[str, list[float]] = {}
    for row in result.rows:
        known.setdefault(row["bits"], []).append(float(np.log(row[TRUTH][-1])))
    checked = [row["bits"] for row in result.rows[len(result.data.points) :]]
    early = dict(result.optima)
    lines = [
        f"| placement | {TRUTH} as the optimum of its round | {TRUTH} of the table "
        "| geometric mean of trainings | standard error of the log | trainings |",
        "|---|---|---|---|---|---|",
    ]
    for bits in dict.fromkeys([*early, *checked]):
        logs = np.array(known[bits])
        truth = float(table.truth(points_of([bits]))[0])
        error = logs.std(ddof=1) / np.sqrt(len(logs))
        then = f"{np.exp(early[bits]):.4f}" if bits in early else ""
        lines.append(
            f"| {Placement(bits).text} | {then} | {truth:.4f} | {np.exp(logs.mean()):.4f} "
            f"| {error:.3f} | {len(logs)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("out/relu_bench"), help="of the log")
    log = parser.parse_args().work / f"{SIXTY_SITES.name}.jsonl"
    result = made(SIXTY_SITES, log)
    save(result.table)
    print(report(result))


if __name__ == "__main__":
    main()
