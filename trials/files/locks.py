"""A folder is held by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; the system lets go of it when the process ends, in any way.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be written ({error.strerror or error}); make it writable"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is at work in {folder}; wait for it or stop it"
            ) from error
        except OSError as error:
            raise InputError(
                f"folder {folder} is on a file system without locks ({error.strerror}); use "
                "another, or mount it with them"
            ) from error
        yield
