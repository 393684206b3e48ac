"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from trials.files.given import read_given
from trials.files.memory import memory_limit
from trials.files.scratch import has_owner

_PARTIAL = ".partial"
_MEMORY_PER_BYTE = 20
"""Memory of a table in bytes, for each byte of its file."""


class StorageError(OSError):
    """A file cannot be written (disk full, read-only, gone). Files written before stay whole."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that readers see the whole content or the file as it was before.

    The content is written to a temporary file in the same folder, which is then renamed. When this
    returns, the content and the name of the file have reached the disk.

    Raises:
        StorageError: the disk refuses; `path` still holds one whole content, as a rule the old one.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
    with storage_errors(path):
        try:
            with temporary.open("wb", buffering=0) as file:
                has_owner(file.fileno())  # until the file has its name
                _write_all(file, content.encode() if isinstance(content, str) else content)
                os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def append_lines(path: Path, lines: str) -> None:
    """Add whole lines to an existing file; they have reached the disk when this returns.

    A half-written last line, left by a crash, is removed first.

    Raises:
        StorageError: the disk refuses or there is no such file; none of the lines is in the file.
    """
    with storage_errors(path), _open_to_change(path) as file:
        end = _end_of_last_line(file)
        file.truncate(end)
        file.seek(end)
        try:
            _write_all(file, lines.encode())
        except OSError:
            file.truncate(end)
            raise


def read_lines(path: Path) -> str:
    """The whole lines of a file as text; a half-written last line is left out.

    Raises:
        OSError: the file cannot be read, is no regular file, or is too large for this machine.
        UnicodeDecodeError: it is not UTF-8.
    """
    content = read_given(path, memory_limit() // _MEMORY_PER_BYTE)
    return content[: content.rfind(b"\n") + 1].decode()


def cut_half_line(path: Path) -> None:
    """Remove a half-written last line from a file.

    Raises:
        StorageError: the disk refuses.
    """
    with storage_errors(path), _open_to_change(path) as file:
        file.truncate(_end_of_last_line(file))


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files that a killed `write_whole` left in a folder."""
    for path in folder.glob(f".*{_PARTIAL}"):
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            if not has_owner(file.fileno()):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise a `StorageError` about `path` for each `OSError` in the block."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def _open_to_change(path: Path) -> BinaryIO:
    """An existing regular file. A link is refused: it may lead out of the folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return cast(BinaryIO, os.fdopen(descriptor, "r+b", buffering=0))


def _write_all(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder reach the disk, after a rename."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # files can be written in a folder that cannot be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Some network file systems cannot sync a folder; they write names at once or not reliably."""


def _end_of_last_line(file: BinaryIO) -> int:
    """Position after the last newline; 0 without one."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
