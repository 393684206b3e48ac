"""The training loop: one EpochMetrics per epoch. Knows nothing of Ray or of searching."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces import InputError
from trials.data.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.data.splits import TrainingData
from trials.training.checkpoint import Checkpoint
from trials.training.evaluation import autocast, evaluate, on_device
from trials.training.metrics import EpochMetrics, require_finite
from trials.training.optimizer import NesterovSGD
from trials.training.process import keep_freed_memory
from trials.training.recipe import Recipe


class TrainsEpoch(Protocol):
    """One pass over all training images in the order of the draws; (mean loss, accuracy)."""

    def __call__(
        self,
        model: nn.Module,
        optimizer: NesterovSGD,
        data: DeviceData,
        draws: EpochDraws,
        epoch: int,
    ) -> tuple[float, float]: ...


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    epoch_by: TrainsEpoch | None = None,
) -> Iterator[EpochMetrics]:
    """Train a model in place, yielding after every epoch.

    Image order, crops and flips come from one generator per (seed, epoch), so that all models
    trained with one seed see the same pixels in the same order. On CPU with one thread the
    metrics are bit-identical from run to run. There is no synchronisation with the device
    inside an epoch.

    Args:
        checkpoint: written after every epoch. Where it exists, its epochs are yielded again as
            they were and the training goes on behind them, as if it had never stopped.
        epoch_by: another way to train an epoch than `train_epoch`.

    Raises:
        StorageError: the checkpoint cannot be written.
        NonFiniteLossError: the training or validation loss is not finite at the end of an epoch.
        InputError: bf16 was asked for on a device other than CUDA.
    """
    keep_freed_memory()
    device = torch.device(device)
    if recipe.precision == "bf16" and device.type != "cuda":
        raise InputError("precision bf16 needs a CUDA device; use fp32 on the CPU")
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = NesterovSGD(model, recipe)
    restored = [] if checkpoint is None else checkpoint.restore(model, optimizer)
    finished = [EpochMetrics(**metrics) for metrics in restored]
    yield from finished
    there = DeviceData.of(data, device)
    train_one = epoch_by or train_epoch
    for epoch in range(len(finished) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        draws = EpochDraws.draw(
            len(data.train), pad=data.pad, flip=data.flip, seed=seed, epoch=epoch
        ).to(device)
        train_loss, train_accuracy = train_one(model, optimizer, there, draws, epoch)
        require_finite(epoch, "training loss", train_loss)
        val_loss, val_accuracy = evaluate(model, *there.validation, there.normalise, recipe)
        require_finite(epoch, "validation loss", val_loss)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=time.perf_counter() - started,
        )
        finished.append(metrics)
        if checkpoint is not None:
            checkpoint.save(model, optimizer, [m.to_json() for m in finished])
        yield metrics


def loss_and_logits(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of a batch, and the logits (B, classes)."""
    logits = model(x)
    return functional.cross_entropy(logits, y), logits


@dataclass(frozen=True)
class DeviceData:
    """Images and labels on the device that trains.

    Attributes:
        images, labels: of the training split: uint8 (N, H+2*pad, W+2*pad, C), int64 (N,).
        validation: images, not padded, and labels of the validation split.
        normalise: for both.
        image_size: (height, width) in pixels, without padding.
    """

    images: Tensor
    labels: Tensor
    validation: tuple[Tensor, Tensor]
    normalise: Normalise
    image_size: tuple[int, int]

    @classmethod
    def of(cls, data: TrainingData, device: torch.device) -> DeviceData:
        images, labels = on_device(data.train, device)
        return cls(
            images=images,
            labels=labels,
            validation=on_device(data.validation, device),
            normalise=Normalise(data.mean, data.std, data.image_size[1], device),
            image_size=data.image_size,
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What a training step reads."""
        return self.images, self.labels, self.normalise.line_mean, self.normalise.line_scale

    def batch(self, draws: EpochDraws) -> tuple[Tensor, Tensor]:
        """Cropped, flipped and normalised images (B, C, H, W) in channels_last, and labels (B,)."""
        x = self.normalise(crop_and_flip(self.images, draws, *self.image_size))
        return x, self.labels[draws.order]


def train_epoch(
    model: nn.Module,
    optimizer: NesterovSGD,
    data: DeviceData,
    draws: EpochDraws,
    epoch: int,
) -> tuple[float, float]:
    """The ordinary way to train an epoch, the last short batch included; (mean loss, accuracy)."""
    model.train()
    recipe, count = optimizer.recipe, len(data.labels)
    loss_sum = torch.zeros((), device=data.images.device)
    correct = torch.zeros((), device=data.images.device)
    rates = recipe.learning_rates(epoch, math.ceil(count / recipe.batch_size))
    for step, rate in enumerate(rates):
        x, y = data.batch(draws.batch(step * recipe.batch_size, recipe.batch_size))
        with autocast(recipe, data.images.device):
            loss, logits = loss_and_logits(model, x, y)
        optimizer.forget_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.learning_rate = rate
        optimizer.step()
        loss_sum += loss.detach() * len(y)
        correct += (logits.detach().argmax(1) == y).sum()
    return loss_sum.item() / count, correct.item() / count
