"""One training of a table, or a pack of them, with everything that the table knows of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.relu_bench.specs import PRECISE_METRICS
from trials import TrainingData, TrialSpec
from trials.data.image_sets import ImageSet
from trials.fast.packing import PackedTraining
from trials.training.evaluation import evaluate, on_device, precise_statistics
from trials.training.loop import DeviceData, train
from trials.training.metrics import EpochMetrics, NonFiniteLossError
from trials.training.process import one_thread
from trials.training.spec import untrained_network

Score = tuple[float, float]
"""(mean cross-entropy in nats, accuracy 0 to 1)."""


class _Row:
    """Metrics of one training after every epoch, its seconds, and any failure."""

    def __init__(self, names: Sequence[str]) -> None:
        self._metrics: dict[str, list[float]] = {name: [] for name in names}
        self._seconds = 0.0
        self.failure: str | None = None

    def add(self, epoch: EpochMetrics, test: Score, precise: Score | None) -> None:
        known = epoch.to_json()
        known |= {"test_loss": test[0], "test_accuracy": test[1]}
        if precise is not None:
            known |= dict(zip(PRECISE_METRICS, precise, strict=True))
        for name, values in self._metrics.items():
            values.append(known[name])
        self._seconds += epoch.seconds

    def to_json(self) -> dict[str, Any]:
        return {**self._metrics, "seconds": self._seconds, "failure": self.failure}


def train_one(
    spec: TrialSpec,
    data: TrainingData,
    test: ImageSet,
    metrics: Sequence[str],
    device: str = "cpu",
) -> dict[str, Any]:
    """One training by the reference code; its seconds are without the test split."""
    row = _Row(metrics)
    there = DeviceData.of(data, torch.device(device))
    test_images = on_device(test, device)
    with one_thread():
        model = untrained_network(spec, data)
        few = there.normalise(there.few_images())
        recipe = spec.recipe
        try:
            for epoch in train(model, data, recipe, seed=spec.seed, device=device):
                tested = evaluate(model, *test_images, there.normalise, recipe)
                with precise_statistics(model, few, recipe):
                    precise = evaluate(model, *there.validation, there.normalise, recipe)
                row.add(epoch, tested, precise)
        except NonFiniteLossError as error:
            row.failure = str(error)
    return row.to_json()


def train_pack(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    test: ImageSet,
    metrics: Sequence[str],
    device: str,
) -> list[dict[str, Any]]:
    """Several trainings at once; equal to `train_one` of each up to rounding."""
    training = PackedTraining(data, device, captured=device == "cuda")
    for number, spec in enumerate(specs):
        training.join(number, spec)
    rows = [_Row(metrics) for _ in specs]
    test_images = on_device(test, device)
    wants_precise = not set(PRECISE_METRICS).isdisjoint(metrics)
    for _ in range(specs[0].recipe.epochs):
        if not training.members:
            break
        results = training.epoch()
        tested = training.score(*test_images)
        precise = training.precise_validate() if wants_precise else {}
        for number, result in results.items():
            if isinstance(result, str):
                rows[number].failure = result
                training.leave(number)
            else:
                rows[number].add(result, tested[number], precise.get(number))
    return [row.to_json() for row in rows]
