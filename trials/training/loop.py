"""The training loop: one EpochMetrics per epoch. It knows nothing of Ray or of searching."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from trials.compat import training_format
from trials.data.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.data.image_sets import TrainingData
from trials.training.checkpoint import Checkpoint
from trials.training.evaluation import (
    EVALUATION_BATCH,
    autocast,
    drop_kept_tensors,
    evaluate,
    on_device,
    with_index,
)
from trials.training.metrics import EpochMetrics, require_finite
from trials.training.optimizer import Optimizer, optimizer_of
from trials.training.process import in_precision, keep_freed_memory, require_precision
from trials.training.recipe import Recipe

LossOf = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(model, images (B, C, H, W), labels (B,)) -> (mean loss (), logits (B, classes))."""


class TrainsEpoch(Protocol):
    """Trains one pass over all training images, in the order of the draws.

    Returns:
        (mean cross-entropy in nats, accuracy 0 to 1) over the epoch.
    """

    def __call__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
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
    """Train a model in place; yields after every epoch.

    Image order, crops and flips come from one generator per (seed, epoch): all models trained with
    the same seed see the same pixels in the same order. On a CPU with one thread the metrics
    repeat to the last bit. Within an epoch the process never waits for the device.

    Args:
        checkpoint: written after every epoch. If the file exists already, its epochs are yielded
            again unchanged and the training continues after them, with the same results as
            a training without an interruption.
        epoch_by: another way to train an epoch than `train_epoch`.

    Raises:
        StorageError: the checkpoint cannot be written.
        NonFiniteLossError: the training or validation loss of an epoch is infinite or NaN.
        InputError: tf32 or bf16 on a device other than CUDA.
    """
    keep_freed_memory()
    device = torch.device(device)
    require_precision(recipe, device)
    model = model.to(device)
    model = model.to(memory_format=training_format(model, data.image_size, device))
    optimizer = optimizer_of(model, recipe)
    restored = [] if checkpoint is None else checkpoint.restore(model, optimizer)
    finished = [EpochMetrics(**metrics) for metrics in restored]
    yield from finished
    on_this_device = DeviceData.of(data, device)
    train_one = epoch_by or train_epoch
    for epoch in range(len(finished) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        draws = EpochDraws.of_epoch(data, seed=seed, epoch=epoch).to(device)
        with in_precision(recipe):
            train_loss, train_accuracy = train_one(model, optimizer, on_this_device, draws, epoch)
        require_finite(epoch, "training loss", train_loss)
        val_loss, val_accuracy = evaluate(
            model, *on_this_device.validation, on_this_device.normalise, recipe
        )
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


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    data: DeviceData,
    draws: EpochDraws,
    epoch: int,
    *,
    loss_of: LossOf | None = None,
) -> tuple[float, float]:
    """The reference way to train an epoch, with its short last batch; see `TrainsEpoch`.

    Args:
        loss_of: the loss to minimise; None: `loss_function` of the recipe.
    """
    model.train()
    recipe, count = optimizer.recipe, len(data.labels)
    sums = EpochSums(data.images.device)
    rates = recipe.learning_rates(epoch, math.ceil(count / recipe.batch_size))
    loss_of = loss_of or loss_function(recipe)
    memory_format = training_format(model, data.image_size, data.images.device)
    for step, rate in enumerate(rates):
        draws_of_step = draws.batch(step * recipe.batch_size, recipe.batch_size)
        batch = data.batch(draws_of_step, memory_format)
        training_step(model, optimizer, batch, rate=rate, sums=sums, loss_of=loss_of)
    return sums.means(count)


RECALIBRATION_BATCHES = 8


def recalibration_draws(
    data: TrainingData, *, seed: int, batch_size: int, device: torch.device
) -> list[EpochDraws]:
    """The draws of the first batches of a training, at most `RECALIBRATION_BATCHES`."""
    used = min(RECALIBRATION_BATCHES * batch_size, len(data.train))
    draws = EpochDraws.of_epoch(data, seed=seed, epoch=1).batch(0, used).to(device)
    return [draws.batch(start, batch_size) for start in range(0, used, batch_size)]


def loss_function(recipe: Recipe) -> LossOf:
    """The loss that a recipe minimises: cross-entropy, with label smoothing if it has any."""
    smoothing = recipe.label_smoothing

    def loss_and_logits(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x)
        return functional.cross_entropy(logits, y, label_smoothing=smoothing), logits

    return loss_and_logits


def training_step(
    model: nn.Module,
    optimizer: Optimizer,
    batch: tuple[Tensor, Tensor],
    *,
    rate: float | Tensor,
    sums: EpochSums,
    loss_of: LossOf,
) -> None:
    """One step of an optimizer on a batch. Does not wait for the device.

    Args:
        batch: images (B, C, H, W) and labels (B,).
        rate: the learning rate; a number, or a tensor of one value on the device.
        sums: loss and hits of the batch are added to them.
        loss_of: `loss_function` of the recipe, or a compiled form of it.
    """
    x, y = batch
    with autocast(optimizer.recipe, x.device):
        loss, logits = loss_of(model, x, y)
    optimizer.forget_gradients()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.learning_rate = rate
    optimizer.step()
    sums.add(loss, logits, y)


class EpochSums:
    """Sums over the images of an epoch, on the device, at addresses that do not change."""

    def __init__(self, device: torch.device) -> None:
        self._loss, self._correct = (torch.zeros((), device=device) for _ in range(2))

    def reset(self) -> None:
        self._loss.zero_()
        self._correct.zero_()

    def add(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """Add a batch: its mean loss (), logits (B, classes) and labels (B,)."""
        self._loss += loss.detach() * len(y)
        self._correct += (logits.detach().argmax(1) == y).sum()

    def means(self, images: int) -> tuple[float, float]:
        """(mean loss, accuracy 0 to 1). Waits for the device."""
        return self._loss.item() / images, self._correct.item() / images


@dataclass(frozen=True)
class DeviceData:
    """Images and labels on the device that trains.

    Attributes:
        images, labels: of the training split: uint8 (N, H+2*pad, W+2*pad, C), int64 (N,).
        validation: images, not padded, and labels of the validation split.
        normalise: for both splits.
        image_size: (height, width) in pixels, without padding.
    """

    images: Tensor
    labels: Tensor
    validation: tuple[Tensor, Tensor]
    normalise: Normalise
    image_size: tuple[int, int]

    @classmethod
    def of(cls, data: TrainingData, device: torch.device) -> DeviceData:
        """Both splits on a device.

        On the CPU the tensors share the arrays' memory. On another device there is one copy per
        process: all that use the same data get the same object, until other data are asked for.
        """
        device = with_index(device)
        return _device_data(data, device) if device.type == "cpu" else _kept_data(data, device)

    def few_images(self) -> Tensor:
        """At most 500 training images, spread over the set, without padding: (n, H, W, C)."""
        height, width = self.image_size
        top, left = (self.images.shape[1] - height) // 2, (self.images.shape[2] - width) // 2
        total = len(self.images)
        count = min(total, EVALUATION_BATCH)
        rows = torch.arange(count, device=self.images.device) * total // count
        return self.images[rows, top : top + height, left : left + width]

    def batch(
        self, draws: EpochDraws, memory_format: torch.memory_format = torch.channels_last
    ) -> tuple[Tensor, Tensor]:
        """Cropped, flipped and normalised images (B, C, H, W), and labels (B,)."""
        x = self.normalise(crop_and_flip(self.images, draws, *self.image_size))
        return x.contiguous(memory_format=memory_format), self.labels[draws.order]


def _device_data(data: TrainingData, device: torch.device) -> DeviceData:
    images, labels = on_device(data.train, device)
    return DeviceData(
        images=images,
        labels=labels,
        validation=on_device(data.validation, device),
        normalise=Normalise(data.mean, data.std, data.image_size[1], device),
        image_size=data.image_size,
    )


_kept_data = lru_cache(maxsize=1)(_device_data)


def drop_device_data() -> None:
    """Free the memory of all images that this process keeps on its device between trainings."""
    _kept_data.cache_clear()
    drop_kept_tensors()
