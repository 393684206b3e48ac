"""Measures loss and accuracy of a network on images that it is not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.networks.build import AnyNetwork
from trials.data.augmentation import Normalise
from trials.data.image_sets import ImageFacts, ImageSet, TrainingData
from trials.data.uploads import upload
from trials.training.process import in_precision
from trials.training.recipe import Recipe

EVALUATION_BATCH = 500
"""Images per forward pass."""


def score_on_test(
    model: AnyNetwork,
    test: ImageSet,
    training: TrainingData | ImageFacts,
    recipe: Recipe,
    device: str,
) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy 0 to 1) of a trained network on the test split.

    Args:
        test: images uint8 (N, H, W, C) and labels.
        training: the data of its training; their mean and std normalise the test images.
        device: `cpu` or `cuda`.
    """
    normalise = Normalise(training.mean, training.std, training.image_size[1], torch.device(device))
    return evaluate(model.to(device), *on_device(test, device), normalise, recipe)


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise, recipe: Recipe
) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy 0 to 1) in eval mode; the model stays in eval mode.

    Args:
        images: uint8 (N, H, W, C), on the model's device.
        labels: int64 (N,), on the same device.
    """
    model.eval()
    loss_sum = torch.zeros((), device=images.device, dtype=torch.float64)
    correct = torch.zeros((), device=images.device)
    batches = (torch.split(tensor, EVALUATION_BATCH) for tensor in (images, labels))
    with in_precision(recipe):
        for pixels, y in zip(*batches, strict=True):
            with autocast(recipe, images.device):
                logits = model(normalise(pixels)).float()
            loss_sum += functional.cross_entropy(logits, y, reduction="sum")
            correct += (logits.argmax(1) == y).sum()
    return loss_sum.item() / len(labels), correct.item() / len(labels)


@contextmanager
def precise_statistics(model: nn.Module, x: Tensor, recipe: Recipe) -> Iterator[None]:
    """In this context the BatchNorm statistics of a model are those of one batch of images.

    The running statistics are averages over the last steps, so they belong to earlier weights.
    While the learning rate is high, they spoil the validation loss. These belong to the present
    weights ("precise BN", Wu and Johnson, arXiv:2105.07576, Section 3). At the end the running
    statistics are restored, at their old addresses.

    Args:
        x: normalised training images (B, C, H, W), a few hundred.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    buffers = [buffer for norm in norms for buffer in norm.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad(), in_precision(recipe), autocast(recipe, x.device):
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    try:
        yield
    finally:
        for buffer, values in zip(buffers, kept, strict=True):
            buffer.copy_(values)


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the BatchNorm statistics of a model by the plain average over some batches.

    Only the norms are in training mode meanwhile. The model stays in eval mode.

    Args:
        batches: normalised training images (B, C, H, W).
    """
    kinds = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for count, images in enumerate(batches, start=1):
        for norm in norms:
            norm.momentum = 1 / count  # with None each norm would wait for a GPU
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def on_device(images: ImageSet, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Images and labels as tensors on a device.

    On the CPU they share the arrays' memory. On another device the last copy is kept: whoever asks
    for the same images next gets the same tensors.
    """
    device = with_index(torch.device(device))
    return _tensors(images, device) if device.type == "cpu" else _kept_tensors(images, device)


def with_index(device: torch.device) -> torch.device:
    """The device as tensors name theirs: `cuda:0` for `cuda`."""
    return torch.empty(0, device=device).device


def _tensors(images: ImageSet, device: torch.device) -> tuple[Tensor, Tensor]:
    with warnings.catch_warnings():  # Ray's shared arrays are read-only; they are not written here
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        pixels, labels = map(torch.from_numpy, (images.images, images.labels))
        return upload(pixels, device), upload(labels, device)


_kept_tensors = lru_cache(maxsize=1)(_tensors)  # and the arrays, so no other has their memory


def drop_kept_tensors() -> None:
    """Free the device memory that `on_device` keeps."""
    _kept_tensors.cache_clear()


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which operations run in bfloat16 if the recipe says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
