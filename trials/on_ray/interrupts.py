"""Signals that interrupt a run, where Ray's own code must not be interrupted or changes them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTS = (signal.SIGINT, signal.SIGUSR1)
"""Both end a run of Ray Tune early. The command line uses the second one."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal that interrupts waits until the end of the block.

    Ray crashes if it is interrupted while it starts, and leaves processes if it is while it stops.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    with handlers_kept():
        if threading.current_thread() is threading.main_thread():
            for number in INTERRUPTS:
                if callable(signal.getsignal(number)):  # what is ignored stays ignored
                    signal.signal(number, lambda *received: waiting.append(received))
        yield
    if waiting:
        received, frame = waiting[0]
        handler = signal.getsignal(received)
        assert callable(handler)
        handler(received, frame)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the handlers of these signals after the block. Ray Tune leaves its own ones."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
