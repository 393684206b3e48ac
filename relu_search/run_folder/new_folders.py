"""Folders that are made and removed."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError


def fresh_folder(parent: Path, prefix: str = "") -> Path:
    """Make a new folder under `parent`, named by date and time. No other process gets the same.

    Raises:
        OSError: it cannot be made.
    """
    stamp = prefix + time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = parent / (stamp if number == 1 else f"{stamp}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


@contextlib.contextmanager
def refused(path: Path) -> Iterator[None]:
    """Raise an `InputError` for each `OSError` in the block."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"output folder {path} cannot be written; give another with --out "
            f"({error.strerror or error})"
        ) from error


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
