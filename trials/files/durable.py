"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PARTIAL = ".partial"


class StorageError(OSError):
    """A file cannot be written: full, read-only, gone. What was written before stays whole."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write to a temporary file beside `path`, then rename it: readers see all or nothing.

    The file has reached the disk when this returns.

    Raises:
        StorageError: the disk refuses; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
    with storage_errors(path):
        try:
            with temporary.open("wb", buffering=0) as file:
                _write_all(file, content.encode() if isinstance(content, str) else content)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def append_lines(path: Path, lines: str) -> None:
    """Add whole lines to an existing file; they have reached the disk when this returns.

    A half-written last line, left by a crash, is dropped first.

    Raises:
        StorageError: the disk refuses; none of the lines is in the file.
    """
    with storage_errors(path), path.open("r+b", buffering=0) as file:
        end = _end_of_last_line(file)
        file.truncate(end)
        file.seek(end)
        try:
            _write_all(file, lines.encode())
        except OSError:
            file.truncate(end)
            raise


def read_lines(path: Path) -> str:
    """The text of a file as far as its lines are whole: without a half-written last one.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1].decode()


def cut_half_line(path: Path) -> None:
    """Drop a half-written last line from a file."""
    with storage_errors(path), path.open("r+b", buffering=0) as file:
        file.truncate(_end_of_last_line(file))


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed `write_whole` left in a folder."""
    for path in folder.glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says while `path` is written into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_all(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _end_of_last_line(file: BinaryIO) -> int:
    """Position behind the last newline; 0 without one."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
