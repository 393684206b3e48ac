"""Files that others wrote: opened without waiting, regular files only, of bounded size."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

from search_spaces import InputError

MOST_FILES = 10_000_000
DEEPEST = 32
"""Folders within folders below the first one."""


def open_given(path: Path) -> io.BufferedReader:
    """Open a regular file to read its bytes. It never waits, as an open of a FIFO would.

    Raises:
        OSError: it cannot be opened, or it is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL byte, or a character that no path can have
        raise OSError(errno.EINVAL, "it is no possible path", str(path)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_given(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `most` bytes.
    """
    with open_given(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return content


def files_under(folder: Path, is_wanted: Callable[[str], bool] = lambda _name: True) -> list[Path]:
    """All entries under a folder that are no folders, ordered by folder, then by name.

    Links to folders are followed.

    Args:
        is_wanted: whether an entry of this name is listed, or entered if it is a folder.

    Raises:
        InputError: a link leads to a folder that was listed before, or there are more than
            `MOST_FILES` entries or `DEEPEST` levels.
        OSError: a folder cannot be read.
    """
    found: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()
    left = [(os.fspath(folder), 0)]
    entries = 0
    while left:
        where, depth = left.pop()
        about = os.stat(where)
        if (about.st_dev, about.st_ino) in seen:
            raise InputError(
                f"{where} is a link to a folder that is listed already; remove the link"
            )
        seen.add((about.st_dev, about.st_ino))
        if depth > DEEPEST:
            raise InputError(f"{where} is more than {DEEPEST} folders deep; use fewer levels")
        with os.scandir(where) as listed:
            for entry in listed:
                entries += 1
                if entries > MOST_FILES:
                    raise InputError(f"{folder} has more than {MOST_FILES:,} files; use fewer")
                if not is_wanted(entry.name):
                    continue
                if _is_folder(entry):
                    left.append((entry.path, depth + 1))
                else:
                    found.append((where, entry.name))
    return [Path(where, name) for where, name in sorted(found)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: whoever opens the entry gets the reason
        return False
