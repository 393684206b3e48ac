"""The training loop: one EpochMetrics per epoch. Knows nothing of Ray or of searching."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from search_spaces import InputError
from trials.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.checkpoint import Checkpoint
from trials.data import ImageSet, TrainingData
from trials.faults import DIVERGED
from trials.recipe import Recipe

EVALUATION_BATCH = 500

LossOf = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


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


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    loss_of: LossOf | None = None,
) -> Iterator[EpochMetrics]:
    """Train a model in place, yielding after every epoch.

    Image order, crops and flips come from one generator per (seed, epoch), so that all models
    trained with one seed see the same pixels in the same order. On CPU with one thread the
    metrics are bit-identical from run to run. There is no synchronisation with the device
    inside an epoch.

    Args:
        checkpoint: written after every epoch. Where it exists, its epochs are yielded again as
            they were and the training goes on behind them, as if it had never stopped.
        loss_of: another way to compute `loss_and_logits`, such as a compiled one.

    Raises:
        StorageError: the checkpoint cannot be written.
        NonFiniteLossError: the training or validation loss is not finite at the end of an epoch.
        InputError: bf16 was asked for on a device other than CUDA.
    """
    device = torch.device(device)
    if recipe.precision == "bf16" and device.type != "cuda":
        raise InputError("precision bf16 needs a CUDA device; use fp32 on the CPU")
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = sgd(model, recipe)
    restored = [] if checkpoint is None else checkpoint.restore(model, optimizer)
    finished = [EpochMetrics(**metrics) for metrics in restored]
    yield from finished
    on_device = DeviceData.of(data, device)
    for epoch in range(len(finished) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        draws = EpochDraws.draw(
            len(data.train), pad=data.pad, flip=data.flip, seed=seed, epoch=epoch
        ).to(device)
        train_loss, train_accuracy = _train_epoch(
            model,
            optimizer,
            recipe,
            on_device,
            draws=draws,
            epoch=epoch,
            loss_of=loss_of or loss_and_logits,
        )
        require_finite(epoch, "training loss", train_loss)
        val_loss, val_accuracy = evaluate(model, data.validation, on_device.normalise, recipe)
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


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """The recipe's optimizer for a model that is on its device."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


@dataclass(frozen=True)
class DeviceData:
    """The training split on the device: uint8 (N, H+2*pad, W+2*pad, C), int64 (N,)."""

    images: Tensor
    labels: Tensor
    normalise: Normalise
    image_size: tuple[int, int]

    @classmethod
    def of(cls, data: TrainingData, device: torch.device) -> DeviceData:
        return cls(
            images=tensor_of(data.train.images).to(device),
            labels=tensor_of(data.train.labels).to(device),
            normalise=Normalise(data.mean, data.std, data.image_size[1], device),
            image_size=data.image_size,
        )


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    data: DeviceData,
    *,
    draws: EpochDraws,
    epoch: int,
    loss_of: LossOf,
) -> tuple[float, float]:
    """One pass over all images, the last short batch included; (mean loss, accuracy)."""
    model.train()
    count = len(data.labels)
    steps = math.ceil(count / recipe.batch_size)
    loss_sum = torch.zeros((), device=data.images.device)
    correct = torch.zeros((), device=data.images.device)
    for step in range(steps):
        progress = (epoch - 1 + step / steps) / recipe.epochs
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(progress)
        batch = draws.batch(step * recipe.batch_size, recipe.batch_size)
        x = data.normalise(crop_and_flip(data.images, batch, *data.image_size))
        y = data.labels[batch.order]
        with autocast(recipe, data.images.device):
            loss, logits = loss_of(model, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.detach() * len(y)
        correct += (logits.detach().argmax(1) == y).sum()
    return loss_sum.item() / count, correct.item() / count


@torch.no_grad()
def evaluate(
    model: nn.Module, images: ImageSet, normalise: Normalise, recipe: Recipe
) -> tuple[float, float]:
    """(mean cross-entropy, accuracy 0 to 1) in eval mode; the model is left in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    loss_sum = torch.zeros((), device=device, dtype=torch.float64)
    correct = torch.zeros((), device=device)
    for start in range(0, len(images), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        x = normalise(tensor_of(images.images[part]).to(device))
        y = tensor_of(images.labels[part]).to(device)
        with autocast(recipe, device):
            logits = model(x).float()
        loss_sum += functional.cross_entropy(logits, y, reduction="sum")
        correct += (logits.argmax(1) == y).sum()
    return loss_sum.item() / len(images), correct.item() / len(images)


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A tensor over an array's own memory, read-only or not (Ray's shared arrays are)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Of the recipe's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def require_finite(epoch: int, what: str, value: float) -> None:
    """Raises NonFiniteLossError: the value is infinite or not a number."""
    if not math.isfinite(value):
        raise NonFiniteLossError(epoch, what, value)
