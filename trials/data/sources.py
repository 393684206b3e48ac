"""Readers of data sets by name, all with the same interface."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import require_type
from trials.data.idx_files import packed_split
from trials.files.paths import user_path

Split = Literal["train", "test"]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MAX_CLASSES = 10_000
MAX_SIDE = 4096
"""Longest side of an image in pixels; a small damaged file can announce a huge image."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of a data set, read on demand.

    Attributes:
        labels: (N,) class of every image, 0-based.
        classes: class names, in label order.
        read: indices (n,) -> uint8 images (n, H, W, C).
        flip: whether a mirrored image keeps its label (digits do not).
        pad: largest shift of a random crop in pixels; None: an eighth of the smaller side (4 at
            32x32, as in the recipe).
        mean, std: published per-channel constants (0-255), or None: compute them.
    """

    labels: Labels
    classes: tuple[str, ...]
    read: Callable[[NDArray[np.int64]], Images]
    flip: bool = True
    pad: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


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
        read=lambda indices: images[indices],
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
        raise InputError(
            f"data set {name} cannot be read from {data_dir} ({_first_line(error)}); pass "
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
        read=lambda indices: np.ascontiguousarray(images[indices]),
        flip=spec.flip,
        mean=spec.mean,
        std=spec.std,
    )


# --- the user's own files ---------------------------------------------------------------------


def _parquet(folder: Path, split: Split) -> Source:
    """The image layout of the Hugging Face hub: encoded `bytes` in a struct, and a label column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob(f"{split}.parquet")) or sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise InputError(
            f"no {split}.parquet (or {split}-*.parquet) in {folder}; put the split there, in the "
            "image layout of the Hugging Face hub"
        )
    announced = re.search(r"-of-([0-9]+)\.parquet$", files[0].name)
    if announced and int(announced[1]) != len(files):
        raise InputError(
            f"{folder} holds {len(files)} of the {int(announced[1])} {split} files that "
            f"{files[0].name} announces; fetch the missing ones"
        )
    try:
        for metadata in map(pq.read_metadata, files):
            groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
            _require_memory(folder, sum(group.total_byte_size for group in groups))
        table = pa.concat_tables([pq.read_table(file) for file in files])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{folder}/{split}*.parquet cannot be read ({_first_line(error)}); "
            "the file is truncated or not parquet"
        ) from error
    image_column = _one_column(folder, table, ("img", "image"))
    label_column = _one_column(folder, table, ("label", "fine_label", "labels"))
    images, labels = table[image_column].combine_chunks(), table[label_column].combine_chunks()
    if not (pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0):
        raise InputError(
            f"{folder}: column {image_column!r} is {images.type}; it must be a struct with the "
            "encoded image in a field 'bytes'"
        )
    if not pa.types.is_integer(labels.type) or labels.null_count or images.null_count:
        raise InputError(
            f"{folder}: {label_column!r} must hold integers and {image_column!r} images, without "
            f"nulls; got {labels.type} with {labels.null_count + images.null_count} nulls"
        )
    encoded = images.field("bytes")

    def read(indices: NDArray[np.int64]) -> Images:
        rows = [int(i) for i in indices]
        return _decode(
            [(io.BytesIO(encoded[i].as_py()), f"{folder}/{split}, row {i}") for i in rows]
        )

    values = labels.to_numpy(zero_copy_only=False).astype(np.int64)
    return Source(labels=values, classes=_numbered_classes(values), read=read)


def _image_folder(folder: Path, split: Split) -> Source:
    """torchvision's ImageFolder layout: `train/CLASS/*.png` and `test/CLASS/*.png`."""
    from torchvision.datasets import ImageFolder

    try:
        dataset = ImageFolder(str(folder / split))
    except OSError as error:
        raise InputError(
            f"{folder / split} is not an image folder ({_first_line(error)}); it needs one "
            "sub-folder of images for each class"
        ) from error
    paths = [Path(path) for path, _ in dataset.samples]

    def read(indices: NDArray[np.int64]) -> Images:
        return _decode([(paths[i], str(paths[i])) for i in indices])

    labels = np.asarray([label for _, label in dataset.samples], dtype=np.int64)
    return Source(labels=labels, classes=tuple(dataset.classes), read=read)


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


def _one_column(folder: Path, table: Any, names: Sequence[str]) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise InputError(
        f"{folder}: no column {' or '.join(names)} among {table.column_names[:8]}; "
        "use the hub's image layout"
    )


def _numbered_classes(labels: Labels) -> tuple[str, ...]:
    highest = int(labels.max()) if len(labels) else 0
    return tuple(str(c) for c in range(min(highest + 1, MAX_CLASSES + 1)))


_GREY, _COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB")


def _decode(encoded: list[tuple[Path | io.BytesIO, str]]) -> Images:
    """Decode 8-bit images, all of one size and all grey or all colour."""
    from PIL import Image

    images: list[Images] = []
    for file, where in encoded:
        try:
            with Image.open(file) as image:
                mode = image.mode
                if max(image.size) > MAX_SIDE:
                    raise ValueError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE}")
                if not images:
                    _require_memory(where, 3 * image.width * image.height * len(encoded))
                pixels = np.asarray(image.convert("L" if mode in _GREY else "RGB"), dtype=np.uint8)
        except InputError:
            raise
        except Exception as error:  # Pillow raises many types on damaged files
            raise InputError(
                f"{where}: image cannot be decoded ({_first_line(error)}); replace or remove it"
            ) from error
        if mode not in _GREY + _COLOUR:
            raise InputError(f"{where}: image has mode {mode!r}; convert it to 8 bits per channel")
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if images and pixels.shape != images[0].shape:
            raise InputError(
                f"{where}: image is {_form(pixels)} but the first one is {_form(images[0])}; bring "
                "all images to one size, all grey or all colour"
            )
        images.append(pixels)
    return np.stack(images)


def _require_memory(where: object, size: int) -> None:
    """Refuse data that do not fit into memory, before they are read.

    Raises:
        InputError: they need more bytes than this machine has.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise InputError(
            f"{where}: the data take {size / 2**30:,.0f} GiB, and this machine has "
            f"{memory / 2**30:,.0f}; a data set is held in memory, so use a smaller one"
        )


def _form(pixels: Images) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} pixels in {'grey' if channels == 1 else 'colour'}"


def _check_labels(name: str, split: Split, source: Source) -> None:
    labels, classes = source.labels, len(source.classes)
    if len(labels) == 0:
        raise InputError(f"data {name!r}: the {split} split is empty; it needs labelled images")
    if classes < 2 or classes > MAX_CLASSES:
        raise InputError(
            f"data {name!r}: the {split} split has {classes} classes; 2 to {MAX_CLASSES} are needed"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"data {name!r}: labels of the {split} split run from {labels.min()} to "
            f"{labels.max()}; with {classes} classes they must be 0 to {classes - 1}"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(missing):
        raise InputError(
            f"data {name!r}: the {split} split has no image of class {missing[0]} (of {classes}); "
            "labels must be 0, 1, 2, ... without gaps"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
