"""What training asks of its process: one thread, and memory that is kept."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread inside, and as many as before behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Tell glibc, once per process, to keep what is freed; elsewhere nothing happens.

    A step's activations are tensors of megabytes. glibc gives such memory back to the system as it
    is freed and asks for it anew in the next step, page by page: thousands of page faults a step.
    The process then keeps the most that it ever needed at once.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _NEVER)
        set_option(_TRIM_THRESHOLD, _NEVER)
