"""Readers of data sets by name, all with the same interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import require_type
from trials.data.reading.folders import MissingSplitError, class_folders
from trials.data.reading.idx_files import packed_split
from trials.data.reading.image_arrays import Images
from trials.data.reading.images import decode_images, first_line, image_sides, resized
from trials.data.reading.parquet_images import ParquetImages
from trials.data.reading.shards import split_files
from trials.files.paths import user_path

Split = Literal["train", "test"]
Labels = NDArray[np.int64]

MAX_CLASSES = 10_000


class ReadsImages(Protocol):
    """Reads images by their row numbers (n,); the options are those of `decode_images`.

    Returns:
        uint8 (n, H, W, C).
    """

    def __call__(
        self,
        rows: NDArray[np.int64],
        *,
        size: int | None = None,
        channels: int | None = None,
        say: Callable[[str], None] = ...,
    ) -> Images: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of a data set, read on demand.

    Attributes:
        labels: (N,) class of every image, 0-based.
        classes: class names, in label order.
        read: reads images.
        flip: whether a mirrored image keeps its label (digits do not).
        pad: largest shift of a random crop in pixels; None: an eighth of the smaller side (4 at
            32x32, as in the recipe).
        mean, std: published per-channel constants (0-255), or None: compute them.
        has_names: whether the classes have names of their own, not only numbers.
        sides: the name of each image and its (height, width), where they may differ.
        name_of: row number -> name of the image, for messages.
        note: a line about what was skipped; empty: nothing was.
    """

    labels: Labels
    classes: tuple[str, ...]
    read: ReadsImages
    flip: bool = True
    pad: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    has_names: bool = True
    sides: Callable[[], Iterator[tuple[str, tuple[int, int]]]] = field(default=lambda: iter(()))
    name_of: Callable[[int], str] = field(default=lambda row: f"image {row}")
    note: str = ""


def open_source(name: str, split: Split, data_dir: Path, *, download: bool = False) -> Source:
    """Open one split of a named data set.

    Args:
        name: `digits`, `cifar10`, `cifar100`, `svhn`, `fashion-mnist`, `parquet:DIR`, `folder:DIR`.
        data_dir: folder of torchvision's data sets.
        download: download a missing torchvision data set.

    Raises:
        InputError: unknown name, or missing, truncated, empty or wrongly labelled data.
    """
    require_type("data", name, str, "a text such as 'digits'")
    kind, colon, where = name.partition(":")
    if kind in _FOLDER_SOURCES and colon:
        source = _FOLDER_SOURCES[kind](_existing_folder(name, where), split)
    elif name == "digits":
        source = _digits(split)
    elif name in _TORCHVISION:
        source = _torchvision(name, split, data_dir, download)
    else:
        raise InputError(
            f"data set {name[:80]!r} is unknown; use digits, {', '.join(_TORCHVISION)}, "
            "parquet:DIR or folder:DIR"
        )
    _check_labels(name, split, source)
    return source


# --- the embedded default ---------------------------------------------------------------------

_DIGITS_TEST_IMAGES = 500


def _digits(split: Split) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey; 500 of them are the fixed test split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(
        np.arange(len(bunch.target)),
        test_size=_DIGITS_TEST_IMAGES,
        stratify=bunch.target,
        random_state=0,
    )
    rows = np.sort(train if split == "train" else test)
    images = np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8)[..., None]
    return Source(
        labels=bunch.target[rows].astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        read=_reader(images),
        flip=False,
        pad=0,  # the digits are centred and fill their 8x8 pixels
    )


# --- torchvision's data sets ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _TorchvisionSet:
    class_name: str
    classes: int
    flip: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


_TORCHVISION = {
    "cifar10": _TorchvisionSet(
        class_name="CIFAR10",
        classes=10,
        flip=True,
        mean=(125.307, 122.950, 113.865),
        std=(62.993, 62.089, 66.705),
    ),
    "cifar100": _TorchvisionSet(
        class_name="CIFAR100",
        classes=100,
        flip=True,
        mean=(129.304, 124.070, 112.434),
        std=(68.170, 65.392, 70.418),
    ),
    "svhn": _TorchvisionSet(class_name="SVHN", classes=10, flip=False),
    "fashion-mnist": _TorchvisionSet(class_name="FashionMNIST", classes=10, flip=True),
}


def _torchvision(name: str, split: Split, data_dir: Path, download: bool) -> Source:
    from torchvision import datasets

    spec = _TORCHVISION[name]
    select: dict[str, Any] = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        packed = packed_split(data_dir / spec.class_name / "raw", split)
        if packed is None:
            dataset = getattr(datasets, spec.class_name)(str(data_dir), download=download, **select)
        else:
            names = datasets.FashionMNIST.classes
            dataset = SimpleNamespace(data=packed[0], targets=packed[1], classes=names)
    except Exception as error:  # torchvision raises many types
        raise MissingSplitError(
            f"data set {name} cannot be read from {data_dir} ({first_line(error)}); pass "
            "--download to fetch it or to unpack its archive, or --data-dir with its folder"
        ) from error
    images = np.asarray(dataset.data)
    if name == "svhn":  # stored as (N, C, H, W)
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 3:
        images = images[..., None]
    labels = dataset.labels if name == "svhn" else dataset.targets
    names = getattr(dataset, "classes", range(spec.classes))
    return Source(
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(str(c) for c in names),
        read=_reader(images),
        flip=spec.flip,
        mean=spec.mean,
        std=spec.std,
    )


# --- the user's own files ---------------------------------------------------------------------


def _parquet(folder: Path, split: Split) -> Source:
    """The image layout of the Hugging Face hub, in one file or in shards."""
    images = ParquetImages(split_files(folder, split), f"{folder}/{split}")
    labels, names = images.labels(), images.class_names()
    has_names = names is not None and len(names) > int(labels.max(initial=0))
    return Source(
        labels=labels,
        classes=names if names is not None and has_names else _numbered_classes(labels),
        read=images.read,
        has_names=has_names,
        sides=images.sides,
        name_of=lambda row: f"row {row}",
    )


def _image_folder(folder: Path, split: Split) -> Source:
    """torchvision's ImageFolder layout: `train/CLASS/*.png` and `test/CLASS/*.png`."""
    classes, images, skipped = class_folders(folder, split)
    paths = [path for of_class in images for path in of_class]
    labels = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in images])

    def read(rows: NDArray[np.int64], **options: Any) -> Images:
        return decode_images(((paths[i], str(paths[i])) for i in rows), len(rows), **options)

    return Source(
        labels=labels.astype(np.int64),
        classes=classes,
        read=read,
        sides=lambda: ((str(path), image_sides(path, str(path))) for path in paths),
        name_of=lambda row: str(paths[row].relative_to(folder)),
        note=f"{skipped} hidden or system files and folders of {folder / split} are skipped"
        if skipped
        else "",
    )


def _reader(images: Images) -> ReadsImages:
    """Reads from images in memory, (N, H, W, C)."""

    def read(
        rows: NDArray[np.int64],
        *,
        size: int | None = None,
        channels: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> Images:
        return np.ascontiguousarray(resized(images[rows], size))

    return read


_FOLDER_SOURCES: dict[str, Callable[[Path, Split], Source]] = {
    "parquet": _parquet,
    "folder": _image_folder,
}


def _existing_folder(name: str, where: str) -> Path:
    folder = user_path(where)
    if not where or not folder.is_dir():
        raise InputError(
            f"data {name[:200]!r}: folder {where!r} does not exist; give an existing one"
        )
    return folder


def _numbered_classes(labels: Labels) -> tuple[str, ...]:
    highest = int(labels.max()) if len(labels) else 0
    return tuple(str(c) for c in range(min(highest + 1, MAX_CLASSES + 1)))


def _check_labels(name: str, split: Split, source: Source) -> None:
    labels, classes = source.labels, len(source.classes)
    if len(labels) == 0:
        raise InputError(f"data {name!r}: the {split} split is empty; it needs labelled images")
    if (classes < 2 and split == "train") or classes > MAX_CLASSES:
        raise InputError(
            f"data {name!r}: the {split} split has {classes} classes; 2 to {MAX_CLASSES} are needed"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"data {name!r}: labels of the {split} split run from {labels.min()} to "
            f"{labels.max()}; with {classes} classes they must be 0 to {classes - 1}"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(missing) and split == "train":
        which = f"class {missing[0]}"
        if source.has_names:
            which += f" ({source.classes[missing[0]]})"
        raise InputError(
            f"data {name!r}: the {split} split has no image of {which} (of {classes}); "
            "labels must be 0, 1, 2, ... without gaps"
        )
