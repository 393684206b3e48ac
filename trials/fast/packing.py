"""Several trials in lockstep as one network of grouped convolutions.

All placements of a backbone share every tensor shape, so K of them fit side by side in the
channels of one network: convolutions get K groups, batch statistics stay those of each channel and
so of each candidate, and a site keeps or drops its ReLU per group. One step then costs the calls
of one network. Each member has its own seed, images, learning rate and end.

A packed training equals a single one after one step, to rounding. Later both drift apart, as these
networks amplify the last bit; so a run uses one back end for all of its trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from search_spaces.errors import InputError
from search_spaces.gates import require_gates_fit
from trials.data.augmentation import EpochDraws
from trials.data.splits import ImageSet, TrainingData
from trials.fast.packed_epoch import PackedEpochs
from trials.fast.packed_network import Member
from trials.fast.stand_in import train_by_stand_in
from trials.training.checkpoint import Checkpoint, save_weights
from trials.training.loop import DeviceData, train
from trials.training.metrics import EpochMetrics, NonFiniteLossError, require_finite
from trials.training.optimizer import NesterovSGD
from trials.training.process import keep_freed_memory, one_thread
from trials.training.spec import TrialSpec, require_images_fit, untrained_network


class PackedTraining:
    """Trains its members one epoch at a time; others join and leave between epochs.

    ```python
    training = PackedTraining(data)
    training.join(0, first)
    training.join(1, second)
    training.epoch()   # {0: EpochMetrics, 1: EpochMetrics}, or the reason of a failure
    ```

    Args:
        data: of all members.
        device: `cpu` or `cuda`.
        captured: replay the steps as CUDA graphs, recorded anew whenever the members change.
    """

    def __init__(self, data: TrainingData, device: str = "cpu", *, captured: bool = False) -> None:
        keep_freed_memory()
        self.members: dict[int, Member] = {}
        self._data = data
        self._device = torch.device(device)
        self._captured = captured
        self._on_device = DeviceData.of(data, self._device)
        self._packed: PackedEpochs | None = None

    def join(
        self,
        number: int,
        spec: TrialSpec,
        *,
        save_to: Path | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> tuple[EpochMetrics, ...]:
        """Take in a trial; the epochs that its checkpoint holds.

        Raises:
            InputError: the spec cannot be packed, or not with the present members.
        """
        require_images_fit(self._data)
        self._require_like_the_others(spec)
        model = untrained_network(spec, self._data)
        require_gates_fit(model.placement, model.activation)
        model = model.to(self._device)
        optimizer = NesterovSGD(model, spec.recipe)
        restored = [] if checkpoint is None else checkpoint.restore(model, optimizer)
        self._unpack()
        member = Member(spec, model, optimizer, save_to, checkpoint)
        member.epochs = [EpochMetrics(**metrics) for metrics in restored]
        self.members[number] = member
        return tuple(member.epochs)

    def _require_like_the_others(self, spec: TrialSpec) -> None:
        for member in self.members.values():
            alike = replace(member.spec, placement=spec.placement, seed=spec.seed)
            if alike != spec:
                raise InputError(
                    "trials of one pack may differ in placement and seed alone; train "
                    f"{spec.backbone} of width {spec.width} with recipe {spec.recipe.name!r} apart"
                )

    def leave(self, number: int) -> None:
        """A trial has ended."""
        self._unpack()
        del self.members[number]

    def epoch(self) -> dict[int, EpochMetrics | str]:
        """Train each member for one epoch; its metrics, or why it failed.

        Raises:
            StorageError: weights or a checkpoint cannot be written.
        """
        with one_thread():
            started = time.perf_counter()
            members = list(self.members.values())
            if self._packed is None:
                self._packed = PackedEpochs(members, self._on_device, captured=self._captured)
            trained = self._packed.train([self._draws_of(member) for member in members])
            tested = self._packed.validate()
            seconds = (time.perf_counter() - started) / len(members)
            results: dict[int, EpochMetrics | str] = {}
            for number, member, training, validation in zip(
                self.members, members, trained, tested, strict=True
            ):
                try:
                    results[number] = self._finished(member, training, validation, seconds)
                except NonFiniteLossError as error:
                    results[number] = str(error)
            return results

    def _draws_of(self, member: Member) -> EpochDraws:
        """Of a member's next epoch."""
        data, epoch = self._data, len(member.epochs) + 1
        return EpochDraws.draw(
            len(data.train), pad=data.pad, flip=data.flip, seed=member.spec.seed, epoch=epoch
        ).to(self._device)

    def _finished(
        self,
        member: Member,
        training: tuple[float, float],
        validation: tuple[float, float],
        seconds: float,
    ) -> EpochMetrics:
        epoch = len(member.epochs) + 1
        require_finite(epoch, "training loss", training[0])
        require_finite(epoch, "validation loss", validation[0])
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=training[0],
            train_accuracy=training[1],
            val_loss=validation[0],
            val_accuracy=validation[1],
            seconds=seconds,
        )
        member.epochs.append(metrics)
        is_last = epoch == member.spec.recipe.epochs
        if member.checkpoint is not None or (member.save_to is not None and is_last):
            assert self._packed is not None
            self._packed.network.copy_back(member)
        if member.checkpoint is not None:
            history = [m.to_json() for m in member.epochs]
            member.checkpoint.save(member.model, member.optimizer, history)
        if member.save_to is not None and is_last:
            save_weights(member.model, member.save_to)
        return metrics

    def _unpack(self) -> None:
        """Give all members their own weights back."""
        if self._packed is not None:
            for member in self._packed.members:
                self._packed.network.copy_back(member)
            self._packed = None


SIZES = (2, 4, 8, 16, 32)
_TIMED_STEPS = 4
_TIMED_REPLAYS = 200
"""Of an epoch; the first epoch warms up, and records."""


def measured_rates(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    device: str = "cpu",
    *,
    captured: bool = False,
) -> dict[int, float]:
    """Candidate-steps per second of ordinary trials (1) and of packs of so many, on this device.

    Larger packs are tried as long as they gain. Each is timed over a short second epoch.

    Args:
        specs: as many as the largest of `SIZES`.
        captured: of both: by recorded CUDA graphs.

    Raises:
        InputError: they cannot be packed.
    """
    recipe = replace(specs[0].recipe, epochs=2)
    images = (_TIMED_REPLAYS if captured else _TIMED_STEPS) * recipe.batch_size
    short = replace(data, train=_first(data.train, images), validation=_first(data.validation, 1))
    steps = math.ceil(len(short.train) / recipe.batch_size)
    shortened = [replace(spec, recipe=recipe) for spec in specs]
    epoch_by = None
    if captured:
        activation = specs[0].activation
        epoch_by = partial(train_by_stand_in, activation=activation, compiled=False, captured=True)
    with one_thread():
        alone = untrained_network(shortened[0], data)
        *_, last = train(alone, short, recipe, seed=0, device=device, epoch_by=epoch_by)
    rates = {1: steps / last.seconds}
    for size in SIZES:
        training = PackedTraining(short, device, captured=captured)
        for number in range(size):
            training.join(number, shortened[number])
        training.epoch()
        started = time.perf_counter()
        training.epoch()
        rates[size] = size * steps / (time.perf_counter() - started)
        if rates[size] < max(rates.values()):
            break
    return rates


def _first(images: ImageSet, count: int) -> ImageSet:
    return ImageSet(images=images.images[:count], labels=images.labels[:count])
