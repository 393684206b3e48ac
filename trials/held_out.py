"""The test split. Only code that gives a final verdict may import this module.

A search never does: the import contracts in `pyproject.toml` fail if it tries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from search_spaces import InputError
from search_spaces.networks import Network
from trials.augmentation import Normalise
from trials.data import ImageSet, TrainingData, data_directory
from trials.recipe import Recipe
from trials.sources import Source, open_source
from trials.training import evaluate


def check_test_split(training: TrainingData, *, data_dir: str | Path | None = None) -> None:
    """Make sure that the test split is there and has the right classes; read no image of it.

    Raises:
        InputError: it cannot be opened, or its classes differ from training's.
    """
    _open_test_split(training, data_dir)


def load_test_split(training: TrainingData, *, data_dir: str | Path | None = None) -> ImageSet:
    """The test images of the data set that `training` comes from.

    Raises:
        InputError: the split cannot be read, or its classes or image shape differ from training's.
    """
    source = _open_test_split(training, data_dir)
    images = source.read(np.arange(len(source.labels)))
    if images.shape[1:] != training.validation.images.shape[1:]:
        raise InputError(
            f"data {training.name!r}: test images are {images.shape[1:]}, training images "
            f"{training.validation.images.shape[1:]}; both need one size"
        )
    return ImageSet(images=images, labels=source.labels)


def score_on_test(
    model: Network, test: ImageSet, training: TrainingData, recipe: Recipe, device: str
) -> tuple[float, float]:
    """(mean cross-entropy, accuracy 0 to 1) of a trained network on the test split.

    Args:
        training: what it was trained on, whose mean and std normalise the test images.
        device: `cpu` or `cuda`.
    """
    normalise = Normalise(training.mean, training.std, training.image_size[1], torch.device(device))
    return evaluate(model.to(device), test, normalise, recipe)


def _open_test_split(training: TrainingData, data_dir: str | Path | None) -> Source:
    source = open_source(training.name, "test", data_directory(data_dir))
    if source.classes != training.classes:
        raise InputError(
            f"data {training.name!r}: the classes of the test split ({_few(source.classes)}) are "
            f"not those of training ({_few(training.classes)}); both need the same classes"
        )
    return source


def _few(classes: tuple[str, ...]) -> str:
    more = ", ..." if len(classes) > 4 else ""
    return f"{len(classes)}: {', '.join(classes[:4])}{more}"
