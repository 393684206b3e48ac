"""The process that sends a search to one tracker: `python -m relu_search.trackers.follower`.

It reads events from stdin, as JSON lines, and prints at most one line, a warning. A tracker that
hangs or crashes so harms no search.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TextIO

from relu_search.trackers.followed import SEARCH, FollowedSearch, FollowedTrial, Sent
from search_spaces.errors import InputError, one_line
from trials.files.locks import locked

FOLDER = "trackers"
"""In a run folder: a folder for each tracker, for its files and what it has been sent."""
LOG, SENT = "log.txt", "sent.json"
"""In the folder of a tracker: what its library prints, and what it has been sent."""
MODULES = {
    "tensorboard": "tensorboard_files",
    "mlflow": "mlflow_runs",
    "wandb": "wandb_runs",
}
_PERIOD = 3.0
"""Seconds between two times that something is sent: many epochs cost as much as one."""
_AGAIN = 30.0  # seconds after which a tracker that failed is tried again
_PATIENCE = 90.0  # seconds for which the follower of an earlier process is waited for
_RESULTS = ("best/card.json", "report.html")
_PARAMETERS = (
    *("trial", "module", "placement", "ratio", "relus", "relu_elements", "params", "macs", "seed"),
)
"""Columns of `trials.csv` that are parameters of the run of a trial."""


class Tracker(Protocol):
    """A tracker, in which a search has a run of its own and one for each of its trials."""

    def begin(self, key: str, parameters: dict[str, Any], earlier: str | None) -> str:
        """Begin a run, or continue the one with the id `earlier` if it is there; returns its id.

        Args:
            key: `SEARCH`, or the number of the trial.
            parameters: name -> value, as texts and numbers.
        """

    def epochs(self, key: str, metrics: list[dict[str, float]]) -> None:
        """Send the metrics of further epochs of a run."""

    def files(self, key: str, files: list[Path]) -> None:
        """Send files of a run; after a failure they may come again."""

    def end(self, key: str, state: str, reason: str) -> None:
        """End a run.

        Args:
            state: COMPLETE, PRUNED, FAIL, or how a search ended; `interrupted` goes on later.
        """


class Follower:
    """Keeps a tracker equal to a search.

    Args:
        search: as it is known here.
        tracker: is sent what it lacks.
        sent: what it has.
    """

    def __init__(self, search: FollowedSearch, tracker: Tracker, sent: Sent) -> None:
        self._search = search
        self._tracker = tracker
        self._sent = sent
        self._open: set[str] = set()

    def send(self) -> None:
        """Send what the tracker lacks.

        Raises:
            Exception: the tracker fails; what it has not taken is sent the next time.
        """
        try:
            self._begin(SEARCH, {})
            for number, trial in sorted(self._search.trials.items()):
                self._send_trial(str(number), trial)
            if self._search.ending is not None:
                self._end(self._search.ending)
        finally:
            self._sent.save()

    def _send_trial(self, key: str, trial: FollowedTrial) -> None:
        run = self._sent[key]
        if run.ended:
            return
        self._begin(key, {name: trial.facts.get(name) for name in _PARAMETERS})
        new = [metrics for epoch, metrics in sorted(trial.epochs.items()) if epoch > run.epoch]
        if new:
            self._tracker.epochs(key, new)
            run.epoch = int(new[-1]["epoch"])
        if trial.state is not None:
            self._tracker.end(key, trial.state, trial.facts.get("reason") or "")
            self._open.discard(key)
            run.ended = True

    def _begin(self, key: str, facts: dict[str, Any]) -> None:
        if key not in self._open:
            earlier = self._sent[key].id
            found = self._tracker.begin(key, self._search.options | facts, earlier)
            if key == SEARCH and found != earlier:
                self._sent.forget()  # nothing of the search is there
            self._sent[key].id = found
            self._open.add(key)

    def _end(self, ending: str) -> None:
        """End the run of the search, and for now those of trials that will go on."""
        for key in sorted(self._open - {SEARCH}):
            self._tracker.end(key, "interrupted", "")
        files = [self._search.path / name for name in _RESULTS]
        there = [file for file in files if file.is_file()]
        if ending == "budget spent" and there:
            self._tracker.files(SEARCH, there)
        self._tracker.end(SEARCH, ending, "")


class _Inbox:
    """Events that arrive on stdin.

    Attributes:
        is_closed: whether there will be no more.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._rest = b""

    def wait(self, until: float) -> list[list[Any]]:
        """The events that have arrived; waits for one, or until a time of `time.monotonic`."""
        select.select([sys.stdin], [], [], max(0.0, until - time.monotonic()))
        events: list[list[Any]] = []
        while not self.is_closed and select.select([sys.stdin], [], [], 0)[0]:
            block = os.read(sys.stdin.fileno(), 1 << 16)
            *lines, self._rest = (self._rest + block).split(b"\n")
            events += map(json.loads, lines)
            self.is_closed = not block
        return events


def follow(name: str, path: Path) -> None:
    """Send a search to a tracker until it has ended, or stdin is closed.

    Args:
        name: of the tracker.
        path: run folder of the search.
    """
    folder = path / FOLDER / name
    warnings = _own_streams(folder / LOG)
    with contextlib.suppress(OSError):
        os.nice(10)  # trials come first
    with _alone(folder):
        search, inbox = FollowedSearch(path), _Inbox()
        follower: Follower | None = None
        next_time, has_warned = 0.0, False
        while search.ending is None:
            for event, *facts in inbox.wait(next_time):
                search.hear(event, *facts)
            if inbox.is_closed and search.ending is None:
                search.ending = "interrupted"
            if search.ending is None and time.monotonic() < next_time:
                continue
            try:
                if follower is None:
                    module = import_module(f"relu_search.trackers.{MODULES[name]}")
                    tracker = module.open_tracker(search, folder)
                    follower = Follower(search, tracker, Sent(folder / SENT))
                follower.send()
                next_time = time.monotonic() + _PERIOD
            except Exception as error:  # each library has its own
                next_time = time.monotonic() + _AGAIN
                traceback.print_exc()
                if not has_warned:
                    has_warned = True
                    warnings.write(f"{_warning(name, folder, error)}\n")
                    warnings.flush()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for the end of a follower that an earlier process of the search has left.

    Raises:
        InputError: it does not end.
    """
    until = time.monotonic() + _PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except InputError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield


def _own_streams(log: Path) -> TextIO:
    """Send what libraries print to a file; returns the stream that stdout was."""
    stdout = os.fdopen(os.dup(1), "w")
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return stdout


def _warning(name: str, folder: Path, error: Exception) -> str:
    reason = re.sub(r"//[^/@\s]*@", "//", one_line(str(error)))[:200]  # it may have a password
    return (
        f"WARNING: {name} fails ({type(error).__name__}: {reason}); the search goes on, and what "
        f"{name} lacks is sent later. See {folder / LOG}"
    )


if __name__ == "__main__":
    follow(sys.argv[1], Path(sys.argv[2]))
