"""The test split. Only code that gives a final verdict may import this module.

A search never does: the import contracts in `pyproject.toml` fail if it tries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from search_spaces import InputError
from trials.data import ImageSet, TrainingData, data_directory
from trials.sources import open_source


def load_test_split(training: TrainingData, *, data_dir: str | Path | None = None) -> ImageSet:
    """The test images of the data set that `training` comes from.

    Raises:
        InputError: the split cannot be read, or its classes or image shape differ from training's.
    """
    source = open_source(training.name, "test", data_directory(data_dir))
    if source.classes != training.classes:
        raise InputError(
            f"data {training.name!r}: the classes of the test split ({_few(source.classes)}) are "
            f"not those of training ({_few(training.classes)}); both need the same classes"
        )
    images = source.read(np.arange(len(source.labels)))
    if images.shape[1:] != training.validation.images.shape[1:]:
        raise InputError(
            f"data {training.name!r}: test images are {images.shape[1:]}, training images "
            f"{training.validation.images.shape[1:]}; both need one size"
        )
    return ImageSet(images=images, labels=source.labels)


def _few(classes: tuple[str, ...]) -> str:
    more = ", ..." if len(classes) > 4 else ""
    return f"{len(classes)}: {', '.join(classes[:4])}{more}"
