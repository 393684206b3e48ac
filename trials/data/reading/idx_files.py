"""Gzipped IDX files, as Fashion-MNIST is distributed; torchvision reads them only unpacked."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_PREFIX = {"train": "train", "test": "t10k"}
_BYTES = b"\0\0\x08"
"""How an IDX file of unsigned bytes begins; the number of dimensions follows."""
_LARGEST = 2**30
"""Most bytes of an unpacked file; a small damaged file can unpack to any size."""


def packed_split(
    folder: Path, split: Literal["train", "test"]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Images (N, H, W) and labels (N,) of a split, unpacked in memory.

    Args:
        folder: torchvision's `FashionMNIST/raw`.

    Returns:
        None if the files are missing, or are there unpacked.

    Raises:
        ValueError, EOFError, OSError: a damaged file.
    """
    names = [f"{_PREFIX[split]}-{name}-ubyte" for name in ("images-idx3", "labels-idx1")]
    files = [folder / f"{name}.gz" for name in names]
    if all((folder / name).exists() for name in names) or not all(map(Path.exists, files)):
        return None
    images, labels = map(_unpacked, files)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{files[0].name} and {files[1].name} do not fit together")
    return images, labels


def _unpacked(file: Path) -> NDArray[np.uint8]:
    with gzip.open(file) as opened:
        content = opened.read(_LARGEST + 1)
    if content[:3] != _BYTES or len(content) > _LARGEST:
        raise ValueError(f"{file.name} is no IDX file of bytes")
    begin = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:begin], dtype=">u4").tolist()
    if math.prod(shape) != len(content) - begin:
        raise ValueError(f"{file.name} is not complete")
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape)
