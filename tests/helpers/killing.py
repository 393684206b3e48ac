"""Searches in processes of their own, to be killed: start, watch the run folder, strike."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

PATIENCE = 240
"""Seconds after which a condition that does not come true fails a test."""
SEARCH = (
    *("search", "--backbone", "plain-8", "--width", "4", "--train-limit", "200"),
    *("--epochs", "3", "--trials", "12", "--concurrent", "1"),
)


def signals_as_usual() -> None:
    """A shell starts its background jobs with SIGINT ignored, and `nohup` with SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Run:
    """`relu-search` with some arguments, in a process of its own, started by `under` if given.

    Args:
        temporary: its folder for temporary files; None: that of the tests.
    """

    def __init__(
        self, *arguments: object, under: tuple[str, ...] = (), temporary: Path | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "relu_search.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=signals_as_usual,  # noqa: PLW1509  it takes no lock
            env={**os.environ, **({} if temporary is None else {"TMPDIR": str(temporary)})},
        )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Until the condition holds; False if the process has ended before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.ended:
                return False
            assert time.monotonic() < end, "the condition never came true"
            time.sleep(0.005)
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def finish(self) -> tuple[int, str]:
        """(exit code, all that was printed)."""
        text, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, text

    def workers(self) -> list[int]:
        """Process ids of the Ray workers that are training for this run."""
        return self.processes("Implicit", "_Pack")

    def processes(self, *words: str) -> list[int]:
        """The command, and the processes that it has started, whose titles have one of the words.

        Without words, all of them. The command comes first, and then the process that does the
        work.
        """
        all_of_them = [self.process.pid, *_descendants(self.process.pid)]
        return [p for p in all_of_them if not words or any(word in _title(p) for word in words)]

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal to all its processes, as a terminal does, but not to Ray's."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def running(*arguments: object, under: tuple[str, ...] = ()) -> Iterator[Run]:
    run = Run(*arguments, under=under)
    try:
        yield run
    finally:
        if not run.ended:
            run.kill()


def lines(path: Path) -> int:
    """Whole lines of a file; 0 without it."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def results(folder: Path) -> tuple[list[dict], list[dict]]:
    """trials.csv and epochs.csv, wall times aside."""
    tables = (pd.read_csv(folder / name, dtype=str) for name in ("trials.csv", "epochs.csv"))
    trials, epochs = (table.drop(columns="seconds").fillna("") for table in tables)
    return trials.to_dict("records"), epochs.to_dict("records")


def born(pid: int) -> tuple[int, str] | None:
    """A process as no other one is named: its id and when it began; None: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (pid, fields[19])


def strike(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
