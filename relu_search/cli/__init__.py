"""Flags and printing."""

from __future__ import annotations

import signal
import time
from typing import NoReturn


def main() -> NoReturn:
    """The program `relu-search`."""
    began = time.monotonic()
    # They wait until there is a process that answers them, as the imports take a while.
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    from relu_search.cli.supervisor import supervise

    supervise(_run, began)


def _run() -> tuple[int, str]:
    from relu_search.cli.app import run

    return run()
