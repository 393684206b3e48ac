"""A search and a confirmation on colour images, in this process: for a second visit to a GPU.

```bash
python -m benchmarks.gpu_speed.search --data parquet:DIR --json found.json
python -m benchmarks.gpu_speed.search --data parquet:DIR --device cpu --quick
```

Random placements are trained in a captured pack and stopped by successive halving, as ASHA does.
The best full-length placement is then trained with fresh seeds, beside the hand-designed modules,
and scored on the test split. It needs neither Ray nor Optuna, so the proposals are random: it shows
what packs and early stopping give on a GPU, not what the proposer gives.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import ttest_ind

from benchmarks.speed.rows import machine
from search_spaces import Backbone, Placement, SearchSpace, resolve_placement
from trials import Recipe, TrainingData, TrialSpec, load_data
from trials.data.held_out import load_test_split
from trials.data.image_sets import ImageSet
from trials.early_stopping.pareto_halving import ParetoHalving
from trials.early_stopping.rule import EarlyStopping
from trials.fast.packing import PackedTraining
from trials.training.evaluation import on_device
from trials.training.metrics import EpochMetrics
from trials.training.recipe import Precision

MODULES = ("paired", "2:1/first")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is searched.

    Attributes:
        members: trials in the pack.
        seconds: no trial is started after this time.
        seeds: of each arm of the confirmation.
    """

    backbone: str = "preresnet-20"
    width: int = 16
    images: int = 10_000
    validation: int = 5_000
    epochs: int = 27
    members: int = 32
    seconds: float = 330
    seeds: int = 8
    precision: Precision = "bf16"

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, schedule="one-cycle", precision=self.precision)

    def trial(self, placement: Placement | str, seed: int) -> TrialSpec:
        return TrialSpec(
            backbone=self.backbone,
            width=self.width,
            placement=placement,
            seed=seed,
            recipe=self.recipe,
        )


QUICK = Plan(
    backbone="preresnet-8",
    width=4,
    images=60,
    validation=40,
    epochs=4,
    members=3,
    seconds=2,
    seeds=2,
    precision="fp32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="such as parquet:DIR")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small sizes: a check, no result")
    parser.add_argument("--json", type=Path, help="write what was found here")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; use --device cpu --quick to check the code")
    plan = QUICK if arguments.quick else Plan()
    data = load_data(
        arguments.data, train_limit=plan.images, validation_images=plan.validation, seed=0
    )
    trials = search(plan, data, arguments.device)
    found: dict[str, Any] = {"machine": machine(), "plan": vars(plan), "search": trials}
    save(found, arguments.json)
    if all(row["failure"] is not None for row in trials):
        raise SystemExit(f"all {len(trials)} trials failed; the first: {trials[0]['failure']}")
    best = best_placement(trials)
    print(f"best of {len(trials)} trials: {best}")
    found["confirmation"] = confirm(plan, data, load_test_split(data), best, arguments.device)
    save(found, arguments.json)
    for arm in found["confirmation"]:
        print(arm)


def search(plan: Plan, data: TrainingData, device: str) -> list[dict[str, Any]]:
    """Train random placements until the time is over; one row for each trial.

    The hand-designed modules come first.
    """
    halving = ParetoHalving(
        EarlyStopping(metric="val_loss", mode="min", max_epochs=plan.epochs, grace_epochs=3)
    )
    proposals = _proposals(plan)
    training = PackedTraining(data, device, captured=device == "cuda")
    rows: dict[int, dict[str, Any]] = {}
    started = time.perf_counter()
    while True:
        while len(training.members) < plan.members and time.perf_counter() - started < plan.seconds:
            number, placement = len(rows), next(proposals)
            rows[number] = {
                "placement": placement.text,
                "epochs": 0,
                "failure": None,
                "train_loss_sum": 0.0,
            }
            training.join(number, plan.trial(placement, seed=number))
        if not training.members:
            return list(rows.values())
        for number, result in training.epoch().items():
            if _has_ended(rows[number], number, result, halving, plan.epochs):
                training.leave(number)


def _proposals(plan: Plan) -> Iterator[Placement]:
    space = SearchSpace(plan.backbone, "block", width=plan.width)
    for module in MODULES:
        yield resolve_placement(space.backbone, module)
    rng = random.Random(0)
    while True:
        yield space.canonical(space.decode(space.sample(rng)))


def _has_ended(
    row: dict[str, Any],
    number: int,
    result: EpochMetrics | str,
    halving: ParetoHalving,
    epochs: int,
) -> bool:
    if isinstance(result, str):
        row["failure"] = result
        return True
    row |= {
        "epochs": result.epoch,
        "train_loss_sum": row["train_loss_sum"] + result.train_loss,
        "val_loss": result.val_loss,
        "val_accuracy": result.val_accuracy,
    }
    goes_on = halving.goes_on(str(number), result.epoch, row["train_loss_sum"], ())
    return result.epoch == epochs or not goes_on


def best_placement(trials: list[dict[str, Any]]) -> str:
    """The placement of the full-length trial with the lowest validation loss."""
    whole = [row for row in trials if row["failure"] is None]
    longest = max(row["epochs"] for row in whole)
    ended = [row for row in whole if row["epochs"] == longest]
    return str(min(ended, key=lambda row: row["val_loss"])["placement"])


def confirm(
    plan: Plan, data: TrainingData, test: ImageSet, best: str, device: str
) -> list[dict[str, Any]]:
    """Test accuracy of each arm over fresh seeds, and Welch's test of it against paired."""
    backbone = Backbone.parse(plan.backbone)
    named = {resolve_placement(backbone, module).text: module for module in MODULES}
    arms = list({**named, best: named.get(best, best)}.values())
    training = PackedTraining(data, device, captured=device == "cuda")
    for place, arm in enumerate(arms):
        for seed in range(plan.seeds):
            training.join(place * plan.seeds + seed, plan.trial(arm, seed=1_000 + seed))
    for _ in range(plan.epochs):
        for number, result in training.epoch().items():
            if isinstance(result, str):
                training.leave(number)
    scores = training.score(*on_device(test, device))
    of_arms = [
        [100 * score[1] for number, score in scores.items() if number // plan.seeds == place]
        for place in range(len(arms))
    ]
    return [
        {
            "arm": arm,
            "n": len(accuracies),
            "mean": mean(accuracies) if accuracies else None,
            "sd": stdev(accuracies) if len(accuracies) > 1 else None,
            "p_against_paired": float(ttest_ind(accuracies, of_arms[0], equal_var=False).pvalue),
        }
        for arm, accuracies in zip(arms, of_arms, strict=True)
    ]


def save(found: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
