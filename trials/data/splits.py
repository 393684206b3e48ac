"""The data of a search: a training and a validation split, never the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import shown
from trials.data.image_sets import (
    Augment,
    GivenImages,
    ImageFacts,
    ImageSet,
    SentByFile,
    Statistics,
    TrainingData,
)
from trials.data.pixels import (
    channel_statistics,
    checked_statistics,
    equal_images,
    pad_with_mean,
    require_varied,
    shifts_of,
)
from trials.data.reading.image_arrays import Images
from trials.data.reading.images import MAX_SIDE, resized
from trials.data.reading.sources import Labels, open_source
from trials.files.paths import data_directory

VALIDATION_SHARE = 5
"""One image in five is used for validation, at most `MAX_VALIDATION`."""
MAX_VALIDATION = 5_000
_FEW = 4
"""Classes or images that a line names at most."""

Say = Callable[[str], None]


def load_data(
    name: str = "digits",
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    validation_images: int | None = None,
    image_size: int | None = None,
    augment: Augment | None = None,
    normalise: Statistics | None = None,
    seed: int = 0,
    download: bool = False,
    say: Say = lambda _line: None,
) -> TrainingData:
    """Load the training set of a data set and split it into training and validation images.

    ```python
    data = load_data("digits")
    len(data.train), len(data.validation)   # 1038, 259
    ```

    Args:
        name: a data set name, see `open_source`.
        data_dir: folder of torchvision's data sets; None: `RELU_SEARCH_DATA`, else `./data`.
        train_limit: train on this many images only (a stratified draw); None: on all.
        validation_images: size of the validation split; by default a fifth of the training set,
            at most 5,000.
        image_size: resize the shorter side of each image to this and take the centre, as
            torchvision's Resize and CenterCrop do; None: all images must have one size.
        augment: `none`; `crop-flip`, a random shift and a random mirror image; or
            `random-resized-crop`, torchvision's with its scales and ratios; None: shift, and mirror
            image where it keeps the label.
        normalise: mean and standard deviation per channel, in 0-255; None: the published ones of
            the data set if the images keep their size, else those of the training images.
        seed: of the split and of the draw under `train_limit`.
        download: let torchvision download a missing data set.
        say: is told the progress of reading, and what is odd about the data.

    Raises:
        InputError: unknown name, unreadable data, or sizes that the data set cannot give.
    """
    splits = load_splits(
        name,
        (seed,),
        data_dir=data_dir,
        train_limit=train_limit,
        validation_images=validation_images,
        image_size=image_size,
        augment=augment,
        normalise=normalise,
        download=download,
        say=say,
    )
    return splits.of(seed)


def load_splits(
    name: str,
    seeds: Iterable[int],
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    validation_images: int | None = None,
    image_size: int | None = None,
    augment: Augment | None = None,
    normalise: Statistics | None = None,
    download: bool = False,
    say: Say = lambda _line: None,
) -> Splits:
    """Read a training set once and split it by several seeds; options as in `load_data`.

    Raises:
        InputError: as `load_data`.
    """
    check_options(image_size, augment)
    source = open_source(name, "train", data_directory(data_dir), download=download)
    if source.note:
        say(source.note)
    rows = {
        seed: split_rows(
            source.labels,
            train_limit=train_limit,
            validation_images=validation_images,
            seed=seed,
            classes=source.classes,
        )
        for seed in seeds
    }
    needed = np.unique(np.concatenate([part for pair in rows.values() for part in pair]))
    images = source.read(needed, size=image_size, say=say)
    require_varied(images, name)
    statistics = checked_statistics(normalise, images, name)
    if statistics is None and source.mean and source.std and image_size is None:
        statistics = source.mean, source.std
    splits = Splits(
        name=name,
        images=images,
        labels=source.labels,
        rows=needed,
        split=rows,
        statistics=statistics,
        classes=source.classes,
        augment=augment,
        own_statistics=normalise is not None,
        resized=image_size is not None,
        **shifts_of(augment, images, source.pad, source.flip),
    )
    splits.say_what_is_odd(source.name_of, say)
    return splits


def splits_of(
    given: GivenImages,
    seeds: Iterable[int],
    *,
    train_limit: int | None = None,
    validation_images: int | None = None,
    image_size: int | None = None,
    augment: Augment | None = None,
    normalise: Statistics | None = None,
    say: Say = lambda _line: None,
) -> Splits:
    """Images that were given in Python, split by several seeds; options as in `load_data`.

    Raises:
        InputError: as `load_data`; or `validation_images` beside a validation split of one's own.
    """
    check_options(image_size, augment)
    if given.validation is not None and validation_images not in (None, given.validation):
        raise InputError(
            f"validation images is {validation_images}, and {given.name} has a validation split of "
            f"its own with {given.validation:,} images; leave validation_images out"
        )
    images, count = resized(given.images, image_size), len(given.labels)
    require_varied(images, given.name)
    rows = {}
    for seed in seeds:
        if given.validation is None:
            rows[seed] = split_rows(
                given.labels,
                train_limit=train_limit,
                validation_images=validation_images,
                seed=seed,
                classes=given.classes,
            )
            continue
        train = np.arange(count - given.validation)
        if train_limit is not None and train_limit < len(train):
            rng = np.random.default_rng(seed)
            train = np.sort(rng.permutation(train)[:train_limit])
        rows[seed] = train, np.arange(count - given.validation, count)
    splits = Splits(
        name=given.name,
        images=images,
        labels=given.labels,
        rows=np.arange(count),
        split=rows,
        statistics=checked_statistics(normalise, images, given.name),
        classes=given.classes,
        augment=augment,
        own_statistics=normalise is not None,
        resized=given.resized or image_size is not None,
        **shifts_of(augment, images, None, given.flip),
    )
    splits.say_what_is_odd("image {}".format, say)
    return splits


def check_options(image_size: int | None, augment: Augment | None) -> None:
    """Check how images are to be resized and varied.

    Raises:
        InputError: no such size, or an unknown word.
    """
    is_size = image_size is None or (type(image_size) is int and 1 <= image_size <= MAX_SIDE)
    if not is_size:
        raise InputError(f"image size is {shown(image_size)}; it must be 1 to {MAX_SIDE}")
    if augment not in (None, *get_args(Augment)):
        raise InputError(
            f"augment is {shown(augment)}; it must be one of {', '.join(get_args(Augment))}"
        )


@dataclass(frozen=True, kw_only=True)
class Splits(SentByFile):
    """A training set and its splits by several seeds. Do not write into the shared arrays.

    Attributes:
        name, pad, flip, classes, augment, own_statistics, resized: as in `TrainingData`.
        images: uint8 (N, H, W, C), not padded: all rows that at least one split uses.
        rows: their row numbers in the data set, sorted; int64 (N,).
        labels: of the whole data set.
        split: seed -> row numbers of its training and of its validation images.
        statistics: by which all splits normalise; None: each uses those of its training images.
    """

    name: str
    images: Images
    rows: NDArray[np.int64]
    labels: Labels
    split: Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
    pad: int
    flip: bool
    statistics: Statistics | None
    classes: tuple[str, ...]
    augment: Augment | None = None
    own_statistics: bool = False
    resized: bool = False

    def say_what_is_odd(self, name_of: Callable[[int], str], say: Say) -> None:
        """Say which classes the first split does not validate, and which images it has twice."""
        train, validation = next(iter(self.split.values()))
        missing = np.setdiff1d(np.arange(len(self.classes)), self.labels[validation])
        if len(missing):
            say(
                f"WARNING: {len(missing)} of {len(self.classes)} classes have too few images for "
                f"the validation split: {_named(self.classes, missing, self.labels)}"
            )
        if pairs := equal_images(self._images(validation), self._images(train)):
            mine, other = validation[pairs[0][0]], train[pairs[0][1]]
            say(
                f"WARNING: {len(pairs):,} of {len(validation):,} validation images are equal to "
                f"training images, pixel by pixel, such as {name_of(mine)} and {name_of(other)}; "
                "validation is too optimistic about them"
            )

    def of(self, seed: int) -> TrainingData:
        """The training and the validation split of one seed, copied and padded."""
        train_rows, validation_rows = self.split[seed]
        train, validation = self._places(train_rows), self._images(validation_rows)
        mean, std = self.statistics or channel_statistics(self.images, train)
        return TrainingData(
            name=self.name,
            train=ImageSet(
                images=pad_with_mean(self.images, self.pad, mean, train),
                labels=self.labels[train_rows],
            ),
            validation=ImageSet(images=validation, labels=self.labels[validation_rows]),
            pad=self.pad,
            flip=self.flip,
            mean=mean,
            std=std,
            classes=self.classes,
            split_seed=seed,
            split_digest=_digest(validation_rows, self.labels, validation),
            augment=self.augment,
            own_statistics=self.own_statistics,
            resized=self.resized,
        )

    def facts_of(self, seed: int) -> ImageFacts:
        """The facts of one seed's split, for scoring a model; no image is padded or kept."""
        height, width, channels = self.images.shape[1:]
        train = self._places(self.split[seed][0])
        mean, std = self.statistics or channel_statistics(self.images, train)
        return ImageFacts(
            name=self.name,
            image_size=(int(height), int(width)),
            in_channels=int(channels),
            classes=self.classes,
            mean=mean,
            std=std,
            resized=self.resized,
        )

    def digest_of(self, seed: int) -> str:
        """`TrainingData.split_digest` of one seed's split."""
        rows = self.split[seed][1]
        return _digest(rows, self.labels, self._images(rows))

    def _images(self, rows: NDArray[np.int64]) -> Images:
        return self.images[self._places(rows)]

    def _places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.rows, rows)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def split_rows(
    labels: Labels,
    *,
    train_limit: int | None,
    validation_images: int | None,
    seed: int,
    classes: Sequence[str] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stratified, seeded row numbers of the training and of the validation split, both sorted.

    Args:
        classes: names of the classes, for messages; None: their numbers.

    Raises:
        InputError: sizes that the labels cannot give, or a class with a single image.
    """
    from sklearn.model_selection import train_test_split

    total, counts = len(labels), np.bincount(labels)
    single, names = np.flatnonzero(counts == 1), classes or [str(c) for c in range(len(counts))]
    if len(single):
        raise InputError(
            f"the labels cannot be split by class: {len(single)} of {len(counts)} classes have one "
            f"image only: {_named(names, single, labels)}; each needs at least two, one for "
            "training and one for validation"
        )
    count = int((counts > 0).sum())
    if validation_images is None:
        validation_images = min(total // VALIDATION_SHARE, MAX_VALIDATION)
    left = total - validation_images
    if not count <= validation_images <= total - count:
        raise InputError(
            f"{shown(validation_images)} validation images of {total} training images in {count} "
            f"classes are impossible; use {count} to {total - count}"
        )
    if train_limit is not None and not count <= train_limit <= left:
        raise InputError(
            f"train limit {shown(train_limit)} is impossible: {left} images in {count} classes are "
            f"left after {validation_images} for validation; use {count} to {left}"
        )
    try:
        rest, validation = train_test_split(
            np.arange(total), test_size=validation_images, stratify=labels, random_state=seed
        )
        if train_limit is not None and train_limit < left:
            if left - train_limit < count:  # too few are left out for a stratified draw
                rest = rest[:train_limit]
            else:
                rest, _ = train_test_split(
                    rest, train_size=train_limit, stratify=labels[rest], random_state=seed
                )
    except ValueError as error:
        few = np.argsort(counts, kind="stable")[:_FEW]
        raise InputError(
            f"the labels cannot be split by class: {error}; the smallest classes are "
            f"{_named(names, few, labels)}"
        ) from error
    return np.sort(rest), np.sort(validation)


def _named(classes: Sequence[str], which: NDArray[np.int64], labels: Labels) -> str:
    """Some classes with their numbers of images."""
    counts = np.bincount(labels, minlength=len(classes))
    some = [f"{classes[one]:.40} ({counts[one]})" for one in which[:_FEW]]
    return ", ".join(some) + (", ..." if len(which) > _FEW else "")
