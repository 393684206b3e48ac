"""What whole sets need: padding, statistics of pixels, equal images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import shown
from trials.data.image_sets import Augment, Statistics
from trials.data.reading.image_arrays import Images, new_images

_PIECE = 2**22  # bytes
_ALIKE = 2
"""Levels of 255 by which pixels differ at most where nothing can be learned from them."""


def pad_with_mean(
    images: Images, pad: int, mean: tuple[float, ...], rows: NDArray[np.int64] | None = None
) -> Images:
    """(N, H, W, C) -> (n, H+2*pad, W+2*pad, C), the border in the mean colour.

    Args:
        rows: (n,) which of the images; None: all.
    """
    _, height, width, channels = images.shape
    count = len(images) if rows is None else len(rows)
    shape = (count, height + 2 * pad, width + 2 * pad, channels)
    padded = new_images(shape, "padded training images")
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


def checked_statistics(
    normalise: Statistics | None, images: Images, name: str
) -> Statistics | None:
    """The mean and standard deviation that the user has said, which fit the images.

    Raises:
        InputError: no such pair, or the images have another number of channels.
    """
    if normalise is None:
        return None
    try:
        mean, std = (tuple(float(one) for one in part) for part in normalise)
    except (TypeError, ValueError):
        mean, std = (), ()
    channels = images.shape[3]
    if not len(mean) == len(std) == channels or not min(std) > 0:
        raise InputError(
            f"normalise is {shown(normalise)}, and images of {name!r:.200} have {channels} "
            "channels; give one mean and one std above 0 per channel"
        )
    return mean, std


def shifts_of(
    augment: Augment | None, images: Images, pad: int | None, flip: bool
) -> dict[str, Any]:
    """The largest shift of a crop in pixels, and whether images are mirrored."""
    eighth = min(images.shape[1:3]) // 8
    if augment == "crop-flip":
        return {"pad": pad or eighth, "flip": True}
    if augment == "none":
        return {"pad": 0, "flip": False}
    if augment == "random-resized-crop":
        return {"pad": 0, "flip": flip}
    return {"pad": eighth if pad is None else pad, "flip": flip}


def _pieces(images: Images, rows: NDArray[np.int64] | None) -> Iterator[tuple[int, Images]]:
    """Images in pieces of about 4 MB, each with its start: copies of all would fill the memory."""
    count = len(images) if rows is None else len(rows)
    step = max(1, _PIECE // max(1, images[:1].size))
    for start in range(0, count, step):
        piece = slice(start, start + step)
        yield start, images[piece] if rows is None else images[rows[piece]]


def require_varied(images: Images, name: str) -> None:
    """Check that the images differ, and that most of them show anything at all.

    Raises:
        InputError: no pixel differs between the images by more than 2 levels of 255, or more than
            half of the images have one colour only.
    """
    least, most = images[0].copy(), images[0].copy()
    plain = 0
    for _, part in _pieces(images, None):
        np.minimum(least, part.min(0), out=least)
        np.maximum(most, part.max(0), out=most)
        plain += int(((part.max((1, 2)) - part.min((1, 2))).max(1) <= _ALIKE).sum())
    if (most - least).max() <= _ALIKE and len(images) > 1:
        raise InputError(
            f"data {name!r}: all {len(images):,} images are alike (no pixel differs by more than "
            f"{_ALIKE} of 255), so nothing can be learned from them; transparent pixels are shown "
            "on white"
        )
    if 2 * plain > len(images):
        raise InputError(
            f"data {name!r}: {plain:,} of {len(images):,} images have one colour only, so little "
            "can be learned from them; transparent pixels are shown on white"
        )


def equal_images(some: Images, others: Images) -> list[tuple[int, int]]:
    """Pairs of places (in some, in others) of images with equal pixels; one for each of `some`."""
    known: dict[bytes, int] = {}
    for place, image in enumerate(others):
        known.setdefault(_fingerprint(image), place)
    prints = (_fingerprint(image) for image in some)
    return [(place, known[one]) for place, one in enumerate(prints) if one in known]


def _fingerprint(image: Images) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
