"""The one place where image files are opened: raster formats only, decoded into one array."""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from search_spaces import InputError
from trials.data.reading.image_arrays import Images, new_images
from trials.data.reading.shown import as_shown, fitted
from trials.files.given import open_given

AnyImage = Any
"""A path, bytes, a Pillow image or an array."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats of pixels. Pillow would also open EPS, for which it starts another program."""
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MAX_SIDE = 4096
"""Longest side of an image in pixels; a small damaged file can announce a huge image."""
MAX_FILE = 128 * 2**20
"""Most bytes of an encoded image: more than the pixels of the largest image."""
USUAL_SCANS = 16
"""Scans that any progressive JPEG may have; encoders write 10 or 11."""
MAX_SCANNED = 2**28
"""Most pixels, over all scans, of a progressive JPEG with more scans: seconds of time."""
_SCAN = b"\xff\xda"
_SAID_EVERY = 5.0  # seconds


def decode_images(
    encoded: Iterable[tuple[AnyImage, str]],
    count: int,
    *,
    size: int | None = None,
    channels: int | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Images:
    """Decode images as a viewer shows them; see `as_shown`.

    If at least one of them is in colour, all are, and grey ones have three equal channels.

    Args:
        encoded: `count` times a file, its bytes, a Pillow image or its pixels (H, W, C), and its
            name for messages.
        count: at least 1.
        size: each image is resized and its centre is taken, see `fitted`; None: all images must
            have one size.
        channels: 1 or 3; None: 1 if all images are grey.
        say: is told the progress from time to time.

    Returns:
        uint8 (count, H, W, C).

    Raises:
        InputError: an image that cannot be decoded or differs from the first one, a colour image
            where 1 channel is asked for, or images for which neither memory nor the disk has room.
    """
    images: Images | None = None
    last = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is refused here
        for number, (source, where) in enumerate(encoded):
            pixels = _decode(source, where, size)
            if images is None:
                shape = (count, *pixels.shape[:2], channels or pixels.shape[2])
                images = new_images(shape, where, say)
            if pixels.shape[2] > images.shape[3]:
                if channels is not None:
                    raise InputError(
                        f"{where}: image is in colour, and the other images of this data set are "
                        "grey; convert it, or bring all images to colour"
                    )
                grey, images = images, new_images((count, *images.shape[1:3], 3), where)
                images[:number] = grey[:number]
            if pixels.shape[:2] != images.shape[1:3]:
                raise InputError(
                    f"{where}: image is {_form(pixels)} but the first one is {_form(images[0])}; "
                    "give --image-size, such as --image-size 64, to bring all to one size"
                )
            images[number] = pixels
            if time.monotonic() - last > _SAID_EVERY:
                last = time.monotonic()
                say(f"reading images: {number + 1:,} of {count:,}")
    assert images is not None
    return images


def image_sides(source: Path | bytes, where: str) -> tuple[int, int]:
    """(height, width) of an image as it is shown, from its header.

    Raises:
        InputError: it cannot be opened.
    """
    from PIL import Image

    try:
        with _opened(source) as file, Image.open(file, formats=FORMATS) as image:
            is_on_side = image.getexif().get(_ORIENTATION, 1) in _ON_THE_SIDE
            turned = is_on_side and image.format != "TIFF"  # Pillow turns these by itself
            width, height = image.size
    except Exception as error:  # Pillow raises many types on damaged files
        raise InputError(
            f"{where}: image cannot be decoded ({first_line(error)}); replace or remove it"
        ) from error
    return (width, height) if turned else (height, width)


_ORIENTATION, _ON_THE_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF


def resized(images: Images, size: int | None) -> Images:
    """uint8 (N, H, W, C) as `decode_images` resizes them; None: as they are."""
    from PIL import Image

    if size is None or images.shape[1:3] == (size, size):
        return images
    out = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for number, pixels in enumerate(images):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        out[number] = np.asarray(fitted(image, size)).reshape(size, size, -1)
    return out


def _decode(source: AnyImage, where: str, size: int | None) -> Images:
    """Pixels (H, W, C) of one image.

    Raises:
        InputError: no such image.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        return resized(source[None], size)[0]
    try:
        with contextlib.ExitStack() as stack:
            image = source
            if isinstance(source, Path | bytes):
                file: Any = stack.enter_context(_opened(source))
                image = stack.enter_context(Image.open(file, formats=FORMATS))
            if max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE}")
            if isinstance(source, Path | bytes) and "progressive" in image.info:
                _check_scans(file, image.width * image.height)
            shown = as_shown(image)
            pixels = np.asarray(shown if size is None else fitted(shown, size), dtype=np.uint8)
    except Exception as error:  # Pillow raises many types on damaged files
        raise InputError(
            f"{where}: image cannot be decoded ({first_line(error)}); replace or remove it"
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_scans(file: BinaryIO, pixels: int) -> None:
    """Check that a progressive JPEG is decoded in bounded time: each scan changes all pixels."""
    place = file.tell()
    file.seek(0)
    scans = file.read().count(_SCAN)
    file.seek(place)
    if scans * pixels > MAX_SCANNED and scans > USUAL_SCANS:
        raise ValueError(f"{scans} scans of {pixels:,} pixels")


def _opened(source: Path | bytes) -> io.BytesIO | io.BufferedReader:
    file = io.BytesIO(source) if isinstance(source, bytes) else open_given(source)
    size = len(source) if isinstance(source, bytes) else os.fstat(file.fileno()).st_size
    if size > MAX_FILE:
        file.close()
        raise ValueError(f"{size:,} bytes, more than {MAX_FILE:,}")
    return file


def _form(pixels: Images) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} pixels in {'grey' if channels == 1 else 'colour'}"


def first_line(error: BaseException) -> str:
    """At most 160 characters of the first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
