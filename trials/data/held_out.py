"""The test split. Only code that gives a final verdict may import this module.

A search must not import it: an import contract in `pyproject.toml` checks this.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from search_spaces import InputError
from search_spaces.errors import shown
from trials.data.sources import Source, open_source
from trials.data.splits import (
    ImageFacts,
    ImageSet,
    TrainingData,
    channel_statistics,
    pad_with_mean,
    split_rows,
)
from trials.files.paths import data_directory


def check_test_split(
    training: TrainingData | ImageFacts, *, data_dir: str | Path | None = None
) -> None:
    """Check that the test split exists and has the classes of training; reads none of its images.

    Raises:
        InputError: it cannot be opened, or its classes differ from training's.
    """
    _open_test_split(training, data_dir)


def load_test_split(
    training: TrainingData | ImageFacts, *, data_dir: str | Path | None = None
) -> ImageSet:
    """The test images, uint8 (N, H, W, C), of the data set that `training` comes from.

    Raises:
        InputError: the split cannot be read, or its classes or image shape differ from training's.
    """
    source = _open_test_split(training, data_dir)
    images = source.read(np.arange(len(source.labels)))
    shape = (*training.image_size, training.in_channels)
    if images.shape[1:] != shape:
        raise InputError(
            f"data {training.name!r}: test images are {images.shape[1:]}, training images "
            f"{shape}; both must have the same shape"
        )
    return ImageSet(images=images, labels=source.labels)


def load_paper_protocol(
    name: str,
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    download: bool = False,
) -> TrainingData:
    """All training images, and the test split in the place of the validation split.

    The paper reports the test accuracy after each epoch (Section IV). The training loop measures
    the validation split after each epoch. With this data its `val_*` metrics are test metrics.

    Args:
        train_limit: number of training images, a stratified draw that is always the same; None:
            all.

    Raises:
        InputError: unknown name, or data that cannot be read.
    """
    source = open_source(name, "train", data_directory(data_dir), download=download)
    rows = np.arange(len(source.labels))
    if train_limit is not None and train_limit != len(rows):
        classes = len(source.classes)
        if not classes <= train_limit <= len(rows):
            raise InputError(
                f"train limit {shown(train_limit)} is impossible: {name!r} has {len(rows)} "
                f"training images in {classes} classes; use {classes} to {len(rows)}"
            )
        if len(rows) - train_limit < classes:  # scikit-learn needs one left-out image per class
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:train_limit])
        else:
            rows = split_rows(
                source.labels, train_limit=None, validation_images=train_limit, seed=0
            )[1]
    images = source.read(rows)
    mean, std = channel_statistics(images)
    if source.mean is not None and source.std is not None:
        mean, std = source.mean, source.std
    pad = min(images.shape[1:3]) // 8 if source.pad is None else source.pad
    training = TrainingData(
        name=name,
        train=ImageSet(images=pad_with_mean(images, pad, mean), labels=source.labels[rows]),
        validation=ImageSet(images=images[:1], labels=source.labels[rows[:1]]),
        pad=pad,
        flip=source.flip,
        mean=mean,
        std=std,
        classes=source.classes,
        split_seed=0,
        split_digest="paper protocol: all training images, test split",
    )
    return replace(training, validation=load_test_split(training, data_dir=data_dir))


def _open_test_split(training: TrainingData | ImageFacts, data_dir: str | Path | None) -> Source:
    source = open_source(training.name, "test", data_directory(data_dir))
    if source.classes != training.classes:
        raise InputError(
            f"data {training.name!r}: the test split has {_few(source.classes)}; the "
            f"training split has {_few(training.classes)}; both must have the same classes"
        )
    return source


def _few(classes: tuple[str, ...]) -> str:
    more = ", ..." if len(classes) > 4 else ""
    return f"{len(classes)} classes ({', '.join(classes[:4])}{more})"
