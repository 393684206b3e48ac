"""The folder in which a private Ray keeps its sockets and its logs."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError
from trials.files.home import is_writable

LONGEST_SOCKET = 107
"""Bytes in the path of a Unix socket: unix(7) gives it 108, the last one for a NUL."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_INSIDE = "/session_2000-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
_VARIABLE = "RAY_TMPDIR"


@contextlib.contextmanager
def session_folder() -> Iterator[str | None]:
    """The folder for Ray's `_temp_dir`; None: the folder that Ray takes by itself can be used.

    Ray takes `RAY_TMPDIR`, else `TMPDIR`, else `/tmp`. If this folder cannot be written, or its
    path is too long for Ray's sockets (as those of Slurm's jobs are), a private folder is made at a
    short path and removed at the end. A warning names it.

    Raises:
        InputError: the folder that `RAY_TMPDIR` names cannot be used, or no short folder can be
            written.
    """
    named = os.environ.get(_VARIABLE)
    folder = named or os.environ.get("TMPDIR") or "/tmp"
    fault = _fault_of(folder)
    if fault is None:
        yield None
        return
    if named:
        raise InputError(
            f"{_VARIABLE} {named[:200]!r} cannot be used by Ray: {fault}; give a short folder that "
            "you can write, such as /tmp, or unset it"
        )
    short = _short_folder()
    logging.getLogger(__name__).warning(
        "Ray keeps its sockets and logs in %s until the end, because TMPDIR cannot be used: %s. "
        "Set %s to choose another folder.",
        short,
        fault,
        _VARIABLE,
    )
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _fault_of(folder: str) -> str | None:
    """Why Ray cannot use a folder; None: it can."""
    sockets = len(os.fsencode(f"{folder}/ray{_INSIDE.format(pid=os.getpid())}"))
    if sockets > LONGEST_SOCKET:
        return (
            f"the path of a socket in it would have {sockets} bytes, and {LONGEST_SOCKET} are "
            "possible"
        )
    if not os.path.isabs(folder):
        return "it is not an absolute path"
    rays = Path(folder) / "ray"
    if not is_writable(rays):
        return f"{rays} cannot be written"
    return None


def _short_folder() -> str:
    for parent in _SHORT_FOLDERS:
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="ray-", dir=parent)
    raise InputError(
        f"Ray needs a short folder for its sockets, and none of {', '.join(_SHORT_FOLDERS)} can be "
        f"written; set {_VARIABLE} to one"
    )
