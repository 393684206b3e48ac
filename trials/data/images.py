"""The one place where image files are opened: raster formats only, decoded into one array."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from trials.files.given import open_given
from trials.files.memory import require_memory

Images = NDArray[np.uint8]

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
COPIES = 3
"""Memory of loaded data, in sizes of the images: all images, padded training images, validation."""

_SCAN = b"\xff\xda"
_GREY, _COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB")


def decode_images(encoded: Iterable[tuple[Path | bytes, str]], count: int) -> Images:
    """Decode 8-bit images, all of one size and all grey or all colour.

    Args:
        encoded: `count` times a file or its bytes, and its name for messages.
        count: at least 1.

    Returns:
        uint8 (count, H, W, C).

    Raises:
        InputError: an image that cannot be decoded or differs from the first one, or images that do
            not fit into memory.
    """
    images: Images | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is refused here
        for number, (source, where) in enumerate(encoded):
            pixels = _decode(source, where)
            if images is None:
                require_memory(
                    f"{where}: a data set of {count:,} such images",
                    COPIES * count * pixels.size,
                    "it is held in memory, so use fewer or smaller images",
                )
                images = np.empty((count, *pixels.shape), np.uint8)
            elif pixels.shape != images.shape[1:]:
                raise InputError(
                    f"{where}: image is {_form(pixels)} but the first one is {_form(images[0])}; "
                    "bring all images to one size, all grey or all colour"
                )
            images[number] = pixels
    assert images is not None
    return images


def _decode(source: Path | bytes, where: str) -> Images:
    """Pixels (H, W, C) of one image.

    Raises:
        InputError: no such image.
    """
    from PIL import Image

    try:
        with _opened(source) as file, Image.open(file, formats=FORMATS) as image:
            mode = image.mode
            if max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE}")
            if "progressive" in image.info:
                _check_scans(file, image.width * image.height)
            pixels = np.asarray(image.convert("L" if mode in _GREY else "RGB"), dtype=np.uint8)
    except Exception as error:  # Pillow raises many types on damaged files
        raise InputError(
            f"{where}: image cannot be decoded ({first_line(error)}); replace or remove it"
        ) from error
    if mode not in _GREY + _COLOUR:
        raise InputError(f"{where}: image has mode {mode!r}; convert it to 8 bits per channel")
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
