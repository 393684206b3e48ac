"""The training loop: one EpochMetrics per epoch. Knows nothing of Ray or of searching."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces import InputError
from trials.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.checkpoint import Checkpoint
from trials.data import ImageSet, TrainingData
from trials.faults import DIVERGED
from trials.memory import keep_freed_memory
from trials.optimizer import NesterovSGD
from trials.recipe import Recipe

EVALUATION_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What is known after an epoch.

    Attributes:
        epoch: 1-based.
        train_loss: mean cross-entropy over the epoch's augmented images, as they were trained on.
        train_accuracy: of the same, 0 to 1.
        val_loss, val_accuracy: on the validation split after the epoch, in eval mode.
        seconds: wall time of this epoch, validation included.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


class NonFiniteLossError(RuntimeError):
    """Training diverged: a loss became infinite or NaN."""

    def __init__(self, epoch: int, what: str, value: float) -> None:
        super().__init__(f"{DIVERGED}: {what} became {value} in epoch {epoch}")
        self.epoch = epoch


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


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise, recipe: Recipe
) -> tuple[float, float]:
    """(mean cross-entropy, accuracy 0 to 1) in eval mode; the model is left in eval mode.

    Args:
        images: uint8 (N, H, W, C), on the model's device.
        labels: int64 (N,), there too.
    """
    model.eval()
    loss_sum = torch.zeros((), device=images.device, dtype=torch.float64)
    correct = torch.zeros((), device=images.device)
    batches = (torch.split(tensor, EVALUATION_BATCH) for tensor in (images, labels))
    for pixels, y in zip(*batches, strict=True):
        with autocast(recipe, images.device):
            logits = model(normalise(pixels)).float()
        loss_sum += functional.cross_entropy(logits, y, reduction="sum")
        correct += (logits.argmax(1) == y).sum()
    return loss_sum.item() / len(labels), correct.item() / len(labels)


def on_device(images: ImageSet, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Images and labels as tensors on a device; on the CPU over the arrays' own memory."""
    with warnings.catch_warnings():  # Ray's shared arrays are read-only, and we do not write
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images_there, labels_there = map(torch.from_numpy, (images.images, images.labels))
        return images_there.to(device), labels_there.to(device)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Of the recipe's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def require_finite(epoch: int, what: str, value: float) -> None:
    """Raises NonFiniteLossError: the value is infinite or not a number."""
    if not math.isfinite(value):
        raise NonFiniteLossError(epoch, what, value)
