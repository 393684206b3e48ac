"""The data of a search: a training and a validation split, never the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import shown
from trials.data.images import Images
from trials.data.sources import Labels, open_source
from trials.files.paths import data_directory

VALIDATION_SHARE = 5
"""One image in five is used for validation, at most `MAX_VALIDATION`."""
MAX_VALIDATION = 5_000
_PIECE = 2**22  # bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images and their classes. Two sets are equal if their arrays are the same memory.

    So copies of equal images differ, but all objects that Ray makes from one object of a node's
    store are equal, as Ray does not copy arrays.

    Attributes:
        images: uint8 (N, H, W, C).
        labels: int64 (N,).
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> ImageSet:
        """The first images, at most `count`."""
        return ImageSet(images=self.images[:count], labels=self.labels[:count])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageSet) and self._memory == other._memory

    def __hash__(self) -> int:
        return hash(self._memory)

    @property
    def _memory(self) -> tuple[Any, ...]:
        """Where both arrays are, and how they are laid out."""
        return tuple(
            (array.ctypes.data, array.shape, array.strides, array.dtype.str)
            for array in (self.images, self.labels)
        )


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """All data that a search may use. The arrays are shared: do not write into them.

    Attributes:
        name: such as `cifar10` or `parquet:DIR`.
        train: training images, padded by `pad` pixels of the mean colour on every side.
        validation: validation images, not padded; taken from the training set, stratified.
        pad: pixels of padding around each training image, the largest shift of a crop.
        flip: whether random horizontal flips keep the labels.
        mean, std: per channel, in 0-255.
        classes: class names, in label order.
        split_seed: seed of the validation split.
        split_digest: SHA-256 over rows, labels and validation pixels; identifies data and split.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    pad: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    split_seed: int
    split_digest: str

    @property
    def in_channels(self) -> int:
        return int(self.validation.images.shape[3])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.validation.images.shape[1]), int(self.validation.images.shape[2])

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What it takes to run a trained model on new images: no images, only facts about them.

    Attributes:
        name, classes: as in `TrainingData`.
        image_size: (height, width) in pixels.
        mean, std: per channel of the training images, in 0-255.
    """

    name: str
    image_size: tuple[int, int]
    in_channels: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def load_data(
    name: str = "digits",
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    validation_images: int | None = None,
    seed: int = 0,
    download: bool = False,
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
        seed: of the split and of the draw under `train_limit`.
        download: let torchvision download a missing data set.

    Raises:
        InputError: unknown name, unreadable data, or sizes that the data set cannot give.
    """
    splits = load_splits(
        name,
        (seed,),
        data_dir=data_dir,
        train_limit=train_limit,
        validation_images=validation_images,
        download=download,
    )
    return splits.of(seed)


def load_splits(
    name: str,
    seeds: Iterable[int],
    *,
    data_dir: str | Path | None = None,
    train_limit: int | None = None,
    validation_images: int | None = None,
    download: bool = False,
) -> Splits:
    """Read a training set once and split it by several seeds; options as in `load_data`.

    Raises:
        InputError: as `load_data`.
    """
    source = open_source(name, "train", data_directory(data_dir), download=download)
    rows = {
        seed: split_rows(
            source.labels, train_limit=train_limit, validation_images=validation_images, seed=seed
        )
        for seed in seeds
    }
    needed = np.unique(np.concatenate([part for pair in rows.values() for part in pair]))
    images = source.read(needed)
    return Splits(
        name=name,
        images=images,
        labels=source.labels,
        rows=needed,
        split=rows,
        pad=min(images.shape[1:3]) // 8 if source.pad is None else source.pad,
        flip=source.flip,
        statistics=None if source.mean is None or source.std is None else (source.mean, source.std),
        classes=source.classes,
    )


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A training set and its splits by several seeds. Do not write into the shared arrays.

    Attributes:
        name, pad, flip, classes: as in `TrainingData`.
        images: uint8 (N, H, W, C), not padded: all rows that at least one split uses.
        rows: their row numbers in the data set, sorted; int64 (N,).
        labels: of the whole data set.
        split: seed -> row numbers of its training and of its validation images.
        statistics: published mean and std per channel, in 0-255; None: each split uses those of
            its training images.
    """

    name: str
    images: Images
    rows: NDArray[np.int64]
    labels: Labels
    split: Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
    pad: int
    flip: bool
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    classes: tuple[str, ...]

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
    labels: Labels, *, train_limit: int | None, validation_images: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stratified, seeded row numbers of the training and of the validation split, both sorted.

    Raises:
        InputError: sizes that the labels cannot give.
    """
    from sklearn.model_selection import train_test_split

    total, classes = len(labels), len(np.unique(labels))
    if validation_images is None:
        validation_images = min(total // VALIDATION_SHARE, MAX_VALIDATION)
    left = total - validation_images
    if not classes <= validation_images <= total - classes:
        raise InputError(
            f"{shown(validation_images)} validation images of {total} training images in {classes} "
            f"classes are impossible; use {classes} to {total - classes}"
        )
    if train_limit is not None and not classes <= train_limit <= left:
        raise InputError(
            f"train limit {shown(train_limit)} is impossible: {left} images in {classes} classes "
            f"are left after {validation_images} for validation; use {classes} to {left}"
        )
    try:
        rest, validation = train_test_split(
            np.arange(total), test_size=validation_images, stratify=labels, random_state=seed
        )
        if train_limit is not None and train_limit < left:
            if left - train_limit < classes:  # too few are left out for a stratified draw
                rest = rest[:train_limit]
            else:
                rest, _ = train_test_split(
                    rest, train_size=train_limit, stratify=labels[rest], random_state=seed
                )
    except ValueError as error:
        raise InputError(f"the labels cannot be split by class: {error}") from error
    return np.sort(rest), np.sort(validation)


def pad_with_mean(
    images: Images, pad: int, mean: tuple[float, ...], rows: NDArray[np.int64] | None = None
) -> Images:
    """(N, H, W, C) -> (n, H+2*pad, W+2*pad, C), the border in the mean colour.

    Args:
        rows: (n,) which of the images; None: all.
    """
    _, height, width, channels = images.shape
    count = len(images) if rows is None else len(rows)
    padded = np.empty((count, height + 2 * pad, width + 2 * pad, channels), np.uint8)
    padded[...] = np.round(mean).astype(np.uint8)
    for start, part in _pieces(images, rows):
        padded[start : start + len(part), pad : pad + height, pad : pad + width] = part
    return padded


def channel_statistics(
    images: Images, rows: NDArray[np.int64] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std (at least 1) per channel of uint8 (N, H, W, C), in 0-255.

    Args:
        rows: which of the images count; None: all.
    """
    counts = np.zeros((images.shape[3], 256), np.int64)
    for _, part in _pieces(images, rows):
        for channel in range(images.shape[3]):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    values = np.arange(256)
    means = [float((count * values).sum() / count.sum()) for count in counts]
    variances = [
        float((count * (values - mean) ** 2).sum() / count.sum())
        for count, mean in zip(counts, means, strict=True)
    ]
    return tuple(means), tuple(max(variance**0.5, 1.0) for variance in variances)


def _pieces(images: Images, rows: NDArray[np.int64] | None) -> Iterator[tuple[int, Images]]:
    """Images in pieces of about 4 MB, each with its start: copies of all would fill the memory."""
    count = len(images) if rows is None else len(rows)
    step = max(1, _PIECE // max(1, images[:1].size))
    for start in range(0, count, step):
        piece = slice(start, start + step)
        yield start, images[piece] if rows is None else images[rows[piece]]
