"""The standard streams: closed ones, and those of libraries that do not print through Python."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import sys
from pathlib import Path


def open_closed_streams() -> None:
    """Connect each closed standard stream to the null device, for this process and its children.

    Without this, the next file that is opened takes the number of the closed stream, and what a
    library writes to the stream is written into that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def own_streams() -> None:
    """Give `sys.stdout` and `sys.stderr` descriptors of their own. They lead to the same places.

    Descriptors 1 and 2, and `sys.__stdout__`, are then for libraries, and both lead to stderr.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        own = io.TextIOWrapper(
            open(os.dup(stream.fileno()), "wb"),  # noqa: SIM115  open until the process ends
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering or stream.write_through,  # PYTHONUNBUFFERED
        )
        setattr(sys, name, own)
    os.dup2(2, 1)
    libraries = open(1, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
    setattr(sys, "__stdout__", libraries)  # noqa: B010  its type says that it is never set


def native_output_to(file: Path) -> None:
    """Append what libraries print to a file, and reports of crashes too.

    Needs `own_streams`. If the file cannot be written, nothing changes.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        descriptor = os.open(file, flags, 0o666)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.close(descriptor)
        faulthandler.enable(file=2, all_threads=False)
