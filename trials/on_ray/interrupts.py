"""Signals that interrupt a run, where Ray's own code must not be interrupted or changes them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

INTERRUPTS = (signal.SIGINT, signal.SIGUSR1)
"""Both end a run of Ray Tune early. The command line uses the second one."""
_DEFERRED = (*INTERRUPTS, signal.SIGALRM)
"""By SIGALRM the command line repeats an interrupt that came in an import."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal that interrupts waits until the end of the block.

    Ray crashes if it is interrupted while it starts, and leaves processes if it is while it stops.
    """
    waiting: list[int] = []
    with handlers_kept():
        if threading.current_thread() is threading.main_thread():
            for number in _DEFERRED:
                if callable(signal.getsignal(number)):  # what is ignored stays ignored
                    signal.signal(number, lambda received, _frame: waiting.append(received))
        yield
    for received in waiting[:1]:
        signal.raise_signal(received)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the handlers of these signals after the block. Ray leaves its own ones.

    That of SIGTERM is restored too, if the program has chosen one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_DEFERRED, signal.SIGTERM)}
    if before[signal.SIGTERM] == signal.SIG_DFL:
        del before[signal.SIGTERM]
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
