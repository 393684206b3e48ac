"""The folder in which a private Ray keeps its sockets and its logs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError
from trials.files.home import is_writable
from trials.files.scratch import LONGEST_NAME, SHORT_FOLDERS, owned_folder

LONGEST_SOCKET = 107
"""Bytes in the path of a Unix socket: unix(7) gives it 108, the last one for a NUL."""
_INSIDE = "session_2000-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
_VARIABLE = "RAY_TMPDIR"


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """A folder of this session for Ray's `_temp_dir`; it does not outlive this process.

    It is made in `RAY_TMPDIR`, else in `TMPDIR`, else in `/tmp`. If it cannot be made there, or its
    path is too long for Ray's sockets (as those of Slurm's jobs are), it is made at a short path,
    and a warning names it.

    Raises:
        InputError: the folder that `RAY_TMPDIR` names cannot be used, or no short folder can be
            written.
    """
    named = os.environ.get(_VARIABLE)
    parent = named or os.environ.get("TMPDIR") or "/tmp"
    fault = _fault_of(parent)
    if fault and named:
        raise InputError(
            f"{_VARIABLE} {named[:200]!r} cannot be used by Ray: {fault}; give a short folder that "
            "you can write, such as /tmp, or unset it"
        )
    chosen = _short_folder() if fault else Path(parent)
    chosen.mkdir(parents=True, exist_ok=True)
    with owned_folder(chosen, watched=True) as folder:
        if fault:
            logging.getLogger(__name__).warning(
                "Ray keeps its sockets and logs in %s until the end, because TMPDIR cannot be "
                "used: %s. Set %s to choose another folder.",
                folder,
                fault,
                _VARIABLE,
            )
        yield folder


def _fault_of(folder: str) -> str | None:
    """Why Ray cannot use a folder; None: it can."""
    inside = f"{'x' * LONGEST_NAME}/{_INSIDE.format(pid=os.getpid())}"
    sockets = len(os.fsencode(f"{folder}/{inside}"))
    if sockets > LONGEST_SOCKET:
        return (
            f"the path of a socket in it would have {sockets} bytes, and {LONGEST_SOCKET} are "
            "possible"
        )
    if not os.path.isabs(folder):
        return "it is not an absolute path"
    if not is_writable(Path(folder)):
        return f"{folder} cannot be written"
    return None


def _short_folder() -> Path:
    for parent in map(Path, SHORT_FOLDERS):
        if parent.is_dir() and is_writable(parent):
            return parent
    raise InputError(
        f"Ray needs a short folder for its sockets, and none of {', '.join(SHORT_FOLDERS)} can be "
        f"written; set {_VARIABLE} to one"
    )
