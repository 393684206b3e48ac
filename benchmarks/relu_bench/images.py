"""The images of a table: a training, a validation and a test split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.relu_bench.specs import TableSpec
from trials import TrainingData, load_data
from trials.data.held_out import load_test_split
from trials.data.image_sets import ImageSet
from trials.data.pixels import channel_statistics, pad_with_mean
from trials.data.reading.image_arrays import Images
from trials.data.splits import split_rows


def images_of(spec: TableSpec, source: str | None = None) -> tuple[TrainingData, ImageSet]:
    """Training and validation images of a table, and its test images.

    Args:
        source: another name of the same data set, such as `parquet:DIR`; None: the table's own.

    Raises:
        InputError: the data set cannot be read.
    """
    data = load_data(
        source or spec.data,
        train_limit=spec.train_images,
        validation_images=spec.validation_images,
    )
    test = load_test_split(data)
    if spec.test_images is not None:
        _, rows = split_rows(
            test.labels, train_limit=None, validation_images=spec.test_images, seed=0
        )
        test = ImageSet(images=test.images[rows], labels=test.labels[rows])
    if spec.shrink == 1:
        return data, test
    return _shrunk_data(data, spec.shrink), _shrunk_set(test, spec.shrink)


def shrunk(images: Images, factor: int) -> Images:
    """uint8 (N, H, W, C) -> (N, H / factor, W / factor, C), averaged over squares of pixels."""
    count, height, width, channels = images.shape
    squares = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return np.round(squares.mean(axis=(2, 4))).astype(np.uint8)


def _shrunk_data(data: TrainingData, factor: int) -> TrainingData:
    pad = data.pad // factor
    images = shrunk(data.train.images[:, data.pad : -data.pad, data.pad : -data.pad], factor)
    mean, std = channel_statistics(images)
    return replace(
        data,
        train=ImageSet(images=pad_with_mean(images, pad, mean), labels=data.train.labels),
        validation=_shrunk_set(data.validation, factor),
        pad=pad,
        mean=mean,
        std=std,
    )


def _shrunk_set(images: ImageSet, factor: int) -> ImageSet:
    return ImageSet(images=shrunk(images.images, factor), labels=images.labels)
