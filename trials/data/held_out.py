"""The test split. Only code that gives a final verdict may import this module.

A search must not import it: an import contract in `pyproject.toml` checks this.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces import InputError
from search_spaces.errors import shown
from trials.data.given_images import given_test_set
from trials.data.image_sets import PYTHON, Augment, ImageFacts, ImageSet, TrainingData
from trials.data.pixels import channel_statistics, pad_with_mean, require_varied, shifts_of
from trials.data.reading.sources import Labels, Source, open_source
from trials.data.splits import Say, check_options, split_rows
from trials.files.paths import data_directory


def check_test_split(
    training: TrainingData | ImageFacts, *, data_dir: str | Path | None = None
) -> None:
    """Check that the test split exists and has the classes of training; reads none of its images.

    Raises:
        InputError: it cannot be opened, or has classes that training has not.
    """
    open_test_split(training, data_dir)


def load_test_split(
    training: TrainingData | ImageFacts,
    *,
    data_dir: str | Path | None = None,
    given: Any = None,
    say: Say = lambda _line: None,
) -> ImageSet:
    """The test images, uint8 (N, H, W, C), of the data set that `training` comes from.

    Args:
        given: a test split that was given in Python, see `given_test_set`; None: that of the name.

    Raises:
        InputError: the split cannot be read, or its classes or image shape differ from training's.
    """
    if given is not None:
        return given_test_set(given, training)
    source, labels = open_test_split(training, data_dir)
    images = source.read(
        np.arange(len(labels)),
        size=training.image_size[0] if training.resized else None,
        channels=training.in_channels,
        say=say,
    )
    shape = (*training.image_size, training.in_channels)
    if images.shape[1:] != shape:
        raise InputError(
            f"data {training.name!r}: test images are {images.shape[1:]}, training images "
            f"{shape}; both must have the same shape"
        )
    return ImageSet(images=images, labels=labels)


def load_paper_protocol(
    name: str,
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    image_size: int | None = None,
    augment: Augment | None = None,
    download: bool = False,
    say: Say = lambda _line: None,
) -> TrainingData:
    """All training images, and the test split in the place of the validation split.

    The paper reports the test accuracy after each epoch (Section IV). The training loop measures
    the validation split after each epoch. With this data its `val_*` metrics are test metrics.

    Args:
        train_limit: number of training images, a stratified draw that is always the same; None:
            all.
        image_size, augment, say: as in `load_data`.

    Raises:
        InputError: unknown name, or data that cannot be read.
    """
    check_options(image_size, augment)
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
    images = source.read(rows, size=image_size, say=say)
    require_varied(images, name)
    mean, std = channel_statistics(images)
    if source.mean is not None and source.std is not None and image_size is None:
        mean, std = source.mean, source.std
    shifts = shifts_of(augment, images, source.pad, source.flip)
    training = TrainingData(
        name=name,
        train=ImageSet(
            images=pad_with_mean(images, shifts["pad"], mean), labels=source.labels[rows]
        ),
        validation=ImageSet(images=images[:1], labels=source.labels[rows[:1]]),
        mean=mean,
        std=std,
        classes=source.classes,
        split_seed=0,
        split_digest="paper protocol: all training images, test split",
        augment=augment,
        resized=image_size is not None,
        **shifts,
    )
    return replace(training, validation=load_test_split(training, data_dir=data_dir, say=say))


def open_test_split(
    training: TrainingData | ImageFacts, data_dir: str | Path | None
) -> tuple[Source, Labels]:
    """The source of the test split, and its labels as training numbers them.

    Raises:
        InputError: it cannot be opened, or has classes that training has not.
    """
    kind = training.name.partition(":")[0]
    if kind == PYTHON:
        raise InputError(
            f"data {training.name!r} were given in Python, and so must be their test split: "
            "confirm(RUN, data=..., test=...)"
        )
    source = open_source(training.name, "test", data_directory(data_dir))
    if not source.has_names and len(source.classes) <= training.num_classes:
        return source, source.labels
    unknown = [name for name in source.classes if name not in training.classes]
    if unknown or not source.has_names:
        raise InputError(
            f"data {training.name!r}: the test split has {_few(source.classes)}; the "
            f"training split has {_few(training.classes)}; both must have the same classes"
        )
    numbers = np.array([training.classes.index(name) for name in source.classes], np.int64)
    return source, numbers[source.labels]


def _few(classes: tuple[str, ...]) -> str:
    more = ", ..." if len(classes) > 4 else ""
    return f"{len(classes)} classes ({', '.join(classes[:4])}{more})"
