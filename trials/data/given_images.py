"""Images that a program gives: arrays, tensors, or a `torch.utils.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import require_type, shown
from trials.data.image_sets import PYTHON, GivenImages, ImageFacts, ImageSet, TrainingData
from trials.data.reading.image_arrays import Images
from trials.data.reading.images import decode_images, resized
from trials.data.reading.sources import MAX_CLASSES, Labels
from trials.data.splits import check_options, splits_of

_SHAPES = "uint8, or floats in 0 to 1, of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3"


def of_tensors(
    images: Any,
    labels: Any,
    *,
    validation: tuple[Any, Any] | None,
    classes: Sequence[str] | None,
    name: str,
    flip: bool,
    seed: int = 0,
    image_size: int | None = None,
    **options: Any,
) -> TrainingData:
    """`TrainingData.from_tensors`."""
    check_options(image_size, options.get("augment"))
    parts = [_arrays(images, labels, image_size)]
    if validation is not None:
        parts.append(_arrays(*_pair(validation, "validation"), image_size))
    return _training_data(
        parts, classes, name=name, flip=flip, seed=seed, image_size=image_size, **options
    )


def of_dataset(
    dataset: Any,
    *,
    validation: Any,
    classes: Sequence[str] | None,
    name: str | None,
    flip: bool,
    seed: int = 0,
    image_size: int | None = None,
    **options: Any,
) -> TrainingData:
    """`TrainingData.from_dataset`."""
    check_options(image_size, options.get("augment"))
    sets = [dataset] if validation is None else [dataset, validation]
    parts = [_items(one, image_size) for one in sets]
    known = getattr(dataset, "classes", None) if classes is None else classes
    named = type(dataset).__name__ if name is None else name
    return _training_data(
        parts, known, name=named, flip=flip, seed=seed, image_size=image_size, **options
    )


def given_test_set(test: Any, training: TrainingData | ImageFacts) -> ImageSet:
    """A test split that was given in Python, as images like those of training.

    Args:
        test: a pair of images and labels as in `TrainingData.from_tensors`, or a data set as in
            `TrainingData.from_dataset`.

    Raises:
        InputError: other labels, or images of another shape than those of training.
    """
    size = training.image_size[0] if training.resized else None
    is_pair = isinstance(test, tuple | list)
    part = _arrays(*_pair(test, "test"), size) if is_pair else _items(test, size)
    images, labels = part.images, part.labels
    if images.shape[3] < training.in_channels:
        images = np.repeat(images, 3, axis=3)
    shape = (*training.image_size, training.in_channels)
    if images.shape[1:] != shape:
        raise InputError(
            f"test images are {images.shape[1:]}, training images {shape}; both must have the "
            "same shape"
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= training.num_classes:
        raise InputError(f"test labels must be 0 to {training.num_classes - 1}, and at least one")
    return ImageSet(images=images, labels=labels)


def _training_data(
    parts: Sequence[ImageSet],
    classes: Sequence[str] | None,
    *,
    name: str,
    flip: bool,
    seed: int,
    **options: Any,
) -> TrainingData:
    require_type("name", name, str, "a text")
    if len({part.images.shape[1:3] for part in parts}) > 1:
        shapes = " and ".join(str(part.images.shape[1:3]) for part in parts)
        raise InputError(f"training and validation images are {shapes}; give image_size")
    channels = max(part.images.shape[3] for part in parts)
    images = [
        np.repeat(part.images, channels // part.images.shape[3], axis=3)
        if part.images.shape[3] < channels
        else part.images
        for part in parts
    ]
    labels = np.concatenate([part.labels for part in parts])
    given = GivenImages(
        name=f"{PYTHON}:{name}",
        images=images[0] if len(images) == 1 else np.concatenate(images),
        labels=labels,
        classes=_class_names(classes, labels),
        flip=flip,
        validation=len(parts[1].labels) if len(parts) > 1 else None,
        resized=options["image_size"] is not None,
    )
    return replace(splits_of(given, (seed,), **options).of(seed), given=given)


def _class_names(classes: Sequence[str] | None, labels: Labels) -> tuple[str, ...]:
    counts = np.bincount(labels) if len(labels) and labels.min() >= 0 else np.zeros(0, np.int64)
    names = tuple(map(str, range(len(counts)) if classes is None else classes))
    if not 2 <= len(names) <= MAX_CLASSES or len(counts) > len(names) or not len(counts):
        raise InputError(
            f"labels must be 0 to {max(len(names), 2) - 1} for {len(names)} classes (2 to "
            f"{MAX_CLASSES}); they run to {len(counts) - 1 if len(counts) else 'below 0'}"
        )
    missing = [name for name, count in zip(names, counts, strict=False) if not count]
    missing += names[len(counts) :]
    if missing:
        raise InputError(f"there is no image of class {missing[0]!r:.60}; each class needs some")
    return names


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{what} is {shown(value)}; it must be a pair of images and labels")
    return value[0], value[1]


def _arrays(images: Any, labels: Any, size: int | None) -> ImageSet:
    pixels = resized(_pixels(_array(images)), size)
    return ImageSet(images=pixels, labels=_labels(_array(labels), len(pixels)))


def _array(value: Any) -> NDArray[Any]:
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(detached)


def _labels(labels: NDArray[Any], count: int) -> Labels:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels are {labels.dtype} of shape {labels.shape}; they must be {count:,} integers"
        )
    return labels.astype(np.int64)


def _pixels(array: NDArray[Any]) -> Images:
    """uint8 (N, H, W, C) of images in any of the layouts of `_SHAPES`."""
    wrong = f"images are {array.dtype} of shape {array.shape}; they must be {_SHAPES}"
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape:
        raise InputError(wrong)
    if array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.shape[3] not in (1, 3):
        raise InputError(wrong)
    if array.dtype != np.uint8:
        is_float = np.issubdtype(array.dtype, np.floating)
        if not is_float or not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{wrong}; give them before they are normalised")
        array = np.round(array * 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def _items(dataset: Any, size: int | None) -> ImageSet:
    """All items of a data set; those that are Pillow images as viewers show them."""
    count = _length(dataset)
    labels = np.empty(count, np.int64)

    def each() -> Iterator[tuple[Any, str]]:
        for place in range(count):
            image, labels[place] = _item(dataset, place)
            yield image, f"item {place} of {type(dataset).__name__}"

    images = decode_images(each(), count, size=size)
    return ImageSet(images=images, labels=labels)


def _length(dataset: Any) -> int:
    try:
        count = len(dataset)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(
            f"the data set is {shown(dataset)}; it needs a length of at least 1 and items by number"
        )
    return count


def _item(dataset: Any, place: int) -> tuple[Any, int]:
    from PIL.Image import Image

    item = dataset[place]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InputError(f"item {place} of the data set is {shown(item)}; it must be image, label")
    image, label = item[0], _array(item[1])
    if label.shape != () or not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"label {place} of the data set is {shown(item[1])}; give integers")
    if not isinstance(image, Image | Path):
        image = _pixels(_array(image)[None])[0]
    return image, int(label)
