"""Standard streams that the caller has closed."""

from __future__ import annotations

import os
import sys


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
