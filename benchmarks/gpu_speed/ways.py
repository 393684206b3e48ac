"""The ways of training a candidate that are compared on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from trials.data.image_sets import TrainingData
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import stand_in_epochs
from trials.training.loop import TrainsEpoch, train
from trials.training.metrics import EpochMetrics
from trials.training.recipe import Precision, Recipe
from trials.training.spec import TrialSpec, untrained_network

UNTIMED = 2
"""Epochs before the timed ones: in them steps are recorded."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a candidate is trained."""

    precision: Precision = "fp32"
    compiled: bool = False
    captured: bool = False

    def __str__(self) -> str:
        graphs = [name for name in ("compiled", "captured") if getattr(self, name)]
        return ", ".join([" ".join(graphs) or "eager", self.precision])

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=400, batch_size=64, precision=self.precision)  # the paper's

    def epoch_by(self, spec: TrialSpec) -> TrainsEpoch | None:
        return stand_in_epochs(spec, compiled=self.compiled, captured=self.captured)

    def epochs(self, spec: TrialSpec, data: TrainingData, device: str) -> Iterator[EpochMetrics]:
        """Trains one candidate of this spec, with the recipe of this way."""
        spec = replace(spec, recipe=self.recipe)
        model = untrained_network(spec, data)
        epoch_by = self.epoch_by(spec)
        return train(model, data, spec.recipe, seed=0, device=device, epoch_by=epoch_by)


def pack_of(
    spec: TrialSpec,
    data: TrainingData,
    device: str,
    members: int,
    *,
    deterministic: bool = False,
) -> PackedTraining:
    """A captured pack of trainings that differ in their seeds."""
    training = PackedTraining(data, device, captured=True, deterministic=deterministic)
    for number in range(members):
        training.join(number, replace(spec, seed=number))
    return training


def warm_epoch(
    spec: TrialSpec,
    data: TrainingData,
    device: str,
    members: int,
) -> Callable[[], object]:
    """Trains one epoch of a captured candidate, or of a pack; its steps are recorded already."""
    epoch: Callable[[], object]
    if members == 1:
        way = Way(captured=True, precision=spec.recipe.precision)
        epoch = partial(next, way.epochs(spec, data, device))
    else:
        epoch = pack_of(spec, data, device, members).epoch
    for _ in range(UNTIMED):
        epoch()
    return epoch
