"""Images of CIFAR's shape with random pixels; speed does not depend on their content."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trials.data.image_sets import ImageSet, TrainingData

PAD = 4


def colour_images(count: int, *, validation: int = 1) -> TrainingData:
    """A number of training and of validation images; the latter are among the former."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(10, size=count, dtype=np.int64)
    padded = np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), constant_values=127)
    return TrainingData(
        name="random",
        train=ImageSet(images=padded, labels=labels),
        validation=ImageSet(images=images[:validation], labels=labels[:validation]),
        pad=PAD,
        flip=True,
        mean=(127.0,) * 3,
        std=(64.0,) * 3,
        classes=tuple("0123456789"),
        split_seed=0,
        split_digest="",
    )


def without_padding(data: TrainingData) -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.train.images[:, PAD:-PAD, PAD:-PAD])
