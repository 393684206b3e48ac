"""Arrays of images: in memory, or in a cache file that is mapped into memory."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from trials.files.memory import memory_limit
from trials.files.paths import user_path
from trials.files.scratch import owned_folder

Images = NDArray[np.uint8]

CACHE_VARIABLE = "RELU_SEARCH_CACHE"
MEMORY_SHARE = 0.5
"""Share of the memory that this process may use which loaded images may take."""
COPIES = 3
"""Memory of loaded data, in sizes of the images: all images, padded training images, validation."""
_KEPT = 4  # mapped arrays that a process keeps open


def new_images(
    shape: tuple[int, ...], what: str, say: Callable[[str], None] = lambda _line: None
) -> Images:
    """An array for images, uint8 (N, H, W, C), of unknown values.

    If `COPIES` such arrays take more than `MEMORY_SHARE` of the memory, it is in a cache file. The
    file is in a folder of this process below `$RELU_SEARCH_CACHE`, or else where the system has its
    temporary files; it is removed with the array.

    Args:
        what: the images, for messages.
        say: is told of a cache file.

    Raises:
        InputError: the cache file has no room, or cannot be made.
    """
    size = math.prod(shape)
    if COPIES * size <= MEMORY_SHARE * memory_limit():
        return np.empty(shape, np.uint8)
    parent = user_path(os.environ.get(CACHE_VARIABLE) or tempfile.gettempdir())
    advice = f"use fewer or smaller images (--image-size, --train-limit), or set {CACHE_VARIABLE}"
    try:
        free = shutil.disk_usage(parent).free
        if size > free:
            raise InputError(
                f"{what}: {shape[0]:,} such images take {size / 2**30:,.1f} GiB, too much for "
                f"memory, and {parent} has {free / 2**30:,.1f} GiB free; {advice}"
            )
        file = _own_folder(parent) / f"{uuid.uuid4().hex}.images"
        images = np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise InputError(
            f"{what}: the cache file in {parent} cannot be made ({error.strerror or error}); "
            f"{advice}"
        ) from error
    weakref.finalize(images, file.unlink, missing_ok=True)
    say(f"{shape[0]:,} images take {size / 2**30:,.1f} GiB: they are in a cache file in {parent}")
    return images


@dataclass(frozen=True)
class MappedFile:
    """A cache file in the place of its array, as other processes get it."""

    path: str
    shape: tuple[int, ...]

    def open(self) -> Images:
        """The array, which must not be written; the same object while a process keeps it.

        Raises:
            InputError: this machine does not see the file.
        """
        return _opened(self)


def as_sent(images: Images) -> Images | MappedFile:
    """What to send to other processes: the name of the cache file, or else the array."""
    first = images
    while isinstance(first.base, np.memmap):
        first = first.base
    if not isinstance(first, np.memmap):
        return images
    if first.ctypes.data == images.ctypes.data and images.flags.c_contiguous:
        return MappedFile(str(first.filename), images.shape)
    return np.array(images)


def as_received(sent: Images | MappedFile) -> Images:
    """The images that were sent."""
    return sent.open() if isinstance(sent, MappedFile) else sent


@functools.lru_cache(maxsize=_KEPT)
def _opened(file: MappedFile) -> Images:
    try:
        return np.memmap(file.path, np.uint8, "r", shape=file.shape)
    except OSError as error:
        raise InputError(
            f"the images are in the cache file {file.path}, which this machine does not see; set "
            f"{CACHE_VARIABLE} to a folder that all nodes see"
        ) from error


@functools.cache
def _own_folder(parent: Path) -> Path:
    """The folder of this process, which is removed when it ends."""
    folder = contextlib.ExitStack()
    atexit.register(folder.close)
    return folder.enter_context(owned_folder(parent))
