"""The trackers of `--log` as a listener: one process for each of them, which sends what happens."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from relu_search.trackers.follower import FOLDER, LOG, SENT
from relu_search.trackers.listener import Ending, Listeners, SearchListener, require_listeners
from search_spaces.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relu_search.run_folder.folder import RunFolder
    from relu_search.settings.resolved_config import ResolvedConfig
    from trials.training.metrics import EpochMetrics

_PATIENCE = {"budget spent": 120.0, "interrupted": 2.0, "stopped": 2.0}
"""Seconds that trackers have for what is left at the end. An interrupted command must end soon."""


class Trackers(SearchListener):
    """Sends a search to trackers.

    Args:
        names: keys of `relu_search.trackers.follower.MODULES`.
        say: is told what fails.

    Raises:
        InputError: the library of one is not installed.
    """

    def __init__(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        for name in names:
            found = find_spec(name)
            if found is None or found.origin is None:  # a folder of this name is no library
                raise InputError(
                    f"log {name} needs a library that is not installed: pip install "
                    f"'relu-search[{name}]', or leave {name} out (--log none for no tracker)"
                )
        self._names = names
        self._say = say
        self._processes: list[_Process] = []

    def began(self, run: RunFolder, config: ResolvedConfig) -> None:
        for name in self._names:
            folder = run.path / FOLDER / name
            for path in (folder, folder / LOG, folder / SENT, *folder.glob("trial-*")):
                if path.is_symlink():
                    raise InputError(f"{path} is a link, and nothing is written through it")
        self._processes = [_Process(name, run, self._say) for name in self._names]

    def started(self, trial: Mapping[str, Any]) -> None:
        self._send("started", trial)

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._send("epoch", number, metrics.to_json())

    def finished(self, trial: Mapping[str, Any]) -> None:
        self._send("finished", trial)

    def ended(self, ending: Ending) -> None:
        self._send("ended", ending)
        until = time.monotonic() + _PATIENCE[ending]
        for process in self._processes:
            process.close(until, must_end=ending == "budget spent")

    def _send(self, event: str, *facts: Any) -> None:
        line = json.dumps([event, *facts]).encode() + b"\n"
        for process in self._processes:
            process.send(line)


@contextlib.contextmanager
def told(listeners: Sequence[SearchListener], trackers: Sequence[str]) -> Iterator[Listeners]:
    """The listeners of a search and its trackers; they are told its end when the block ends.

    Args:
        listeners: of the caller; they are told everything first.
        trackers: names.

    Raises:
        InputError: a listener is none, or the library of a tracker is not installed.
    """
    require_listeners(listeners)
    heard = Listeners([*listeners, Trackers(trackers, _warn)], _warn)
    try:
        yield heard
    finally:
        heard.end()


def _warn(line: str) -> None:
    """Print a line to stderr; nothing if it is closed or full."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr)


class _Process:
    """A follower in a process of its own. Two threads write to it and read from it."""

    def __init__(self, name: str, run: RunFolder, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._log = run.path / FOLDER / name / LOG
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "relu_search.trackers.follower", name, str(run.path.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the search, which then tells the follower
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, line: bytes) -> None:
        """Send a line, without waiting until it is read."""
        self._lines.put(line)

    def close(self, until: float, *, must_end: bool) -> None:
        """Wait for the end of the process, at most until a time of `time.monotonic`.

        Args:
            must_end: whether it is killed then; else it goes on alone until all is sent.
        """
        self._lines.put(None)
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            if not must_end:
                return
            self._process.kill()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                while (line := self._lines.get()) is not None:
                    stdin.write(line)
                    stdin.flush()
        except BrokenPipeError:  # it has ended; `_read` says so
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        has_warned = False
        with self._process.stdout as stdout:
            for line in stdout:
                has_warned = True
                self._say(line.decode(errors="replace").rstrip("\n"))
        if self._process.wait() and not has_warned:
            self._say(
                f"WARNING: {self._name} has not been sent everything; the search is not affected. "
                f"See {self._log}; relu-search search --resume RUN sends what is missing"
            )
