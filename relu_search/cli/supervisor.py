"""Runs the command line in a child process, so that every end of it gets a last line.

The child does the work. This process imports little and only waits. So it answers a signal at any
moment, says what is safe after a crash of the child, and ends every process that the child left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from relu_search.cli.streams import open_closed_streams, own_streams
from search_spaces.errors import one_line
from trials.files.scratch import sweep_everywhere

EXIT_FAILURE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
STOPS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP",
}
"""Signals that end a command, and the words for it."""
_TO_CHILD = signal.SIGUSR1  # Ray Tune ends a run early on it, too
_PATIENCE = 8
"""Seconds that the child has to end by itself after a signal. Docker grants 10 before it kills."""
_DEATH_SIGNAL, _SUBREAPER = 1, 36  # of prctl(2)
_SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the last line of a command names.

    Attributes:
        begun: path of a file that exists once there is something to go on with.
        table: path of a file with a heading and a line for each finished training.
        command: what goes on with it.
    """

    begun: str
    table: str
    command: str

    @property
    def log(self) -> Path:
        """The file for what libraries print, beside the table."""
        return Path(self.table).with_name("ray.log")


_progress: Progress | None = None
_pipe: int | None = None  # to the supervisor, in its child
_began: float | None = None


def supervise(work: Callable[[], tuple[int, str]], began: float) -> NoReturn:
    """Do some work in a child process, and end as it ends. The signals `STOPS` must be blocked.

    Args:
        work: returns the exit code and the last line, or an empty text.
        began: when the program did, by `time.monotonic`.
    """
    global _began  # noqa: PLW0603
    _began = began
    open_closed_streams()
    waited = {*STOPS, signal.SIGALRM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    before = _children()
    _prctl(_SUBREAPER, 1)
    reading, writing = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(reading)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited - STOPS.keys())
        _child(parent, writing, work)
    os.close(writing)
    received = _signals_until_end_of(child, waited)
    _, status = os.waitpid(child, 0)
    told = _told(reading)
    if not told.get("keep_children"):
        _end(_children() - before, before)
    sweep_everywhere()
    sys.exit(_last_words(told, os.waitstatus_to_exitcode(status), received))


def _signals_until_end_of(child: int, waited: set[signal.Signals]) -> list[int]:
    """Wait until the child has ended; returns the signals that came to end the command.

    The first one is passed on to the child, which is killed at the second one, or if it needs more
    time than it has. The signals are blocked and fetched one by one, so none is lost.

    Args:
        waited: `STOPS`, and those that tell of the end of the child and of its time.
    """
    received: list[int] = []
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        number = signal.sigwait(waited)
        if number == signal.SIGALRM:
            os.kill(child, signal.SIGKILL)
        elif number in STOPS and signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores one
            received.append(number)
            os.kill(child, _TO_CHILD if len(received) == 1 else signal.SIGKILL)
            signal.alarm(_PATIENCE)
    return received


def tell(progress: Progress) -> None:
    """Set what the last line names if this command does not end by itself."""
    global _progress  # noqa: PLW0603  a process has one command
    _progress = progress
    _send(progress=asdict(progress))


def keep_children() -> None:
    """Let the processes that this command has started outlive it, such as the user's browser."""
    _send(keep_children=True)


def is_supervised() -> bool:
    """Whether this is the child of a supervisor."""
    return _pipe is not None


def command_began() -> float | None:
    """When this command began, by `time.monotonic`; None: it is part of another program."""
    return _began


def advice() -> str:
    """What is safe, and how to go on."""
    if _progress is None or not os.path.exists(_progress.begun):
        return "no file is incomplete. Give the same command again"
    table, count = Path(_progress.table), 0
    with contextlib.suppress(OSError):
        count = max(0, table.read_bytes().count(b"\n") - 1)
    trainings = "1 finished training is" if count == 1 else f"{count} finished trainings are"
    return f"{trainings} safe in {table.parent}. Go on with: {_progress.command}"


def _child(parent: int, pipe: int, work: Callable[[], tuple[int, str]]) -> NoReturn:
    """The child: does the work, and tells how it ended."""
    global _pipe  # noqa: PLW0603
    _pipe = pipe
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os._exit(EXIT_FAILURE)
    for number in STOPS:  # a terminal sends them to all its processes; the supervisor answers
        signal.signal(number, signal.SIG_IGN)
    for number in (_TO_CHILD, signal.SIGALRM):
        signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    own_streams()
    code, line = EXIT_INTERRUPTED, ""
    try:
        code, line = work()
    except KeyboardInterrupt:
        pass
    except Exception:
        traceback.print_exc()
        code = EXIT_FAILURE
    for number in (_TO_CHILD, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    _send(code=code, line=line)
    sys.exit(code)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; after an import if there is one, as it may be lost in it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _last_words(told: dict[str, Any], status: int, received: list[int]) -> int:
    """Say how the command ended; returns the exit code.

    Args:
        told: what the child has said.
        status: its exit code, or minus the signal that it died by.
        received: signals to this process, in order.
    """
    global _progress  # noqa: PLW0603
    if "progress" in told:
        _progress = Progress(**told["progress"])
    printed = _progress is not None and _keep_if_printed(_progress.log)
    if "code" not in told and sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # the live view hides it
    code = told.get("code")
    if code == 0:
        if received:
            _say(f"{STOPS[signal.Signals(received[0])]}, but all was done")
        return 0
    if received or code == EXIT_INTERRUPTED:
        number = received[0] if received else signal.SIGINT
        _say(f"{STOPS[signal.Signals(number)]}; {advice()}")
        return 128 + number
    if code is not None:
        if told["line"]:
            _say(told["line"])
        return int(code)
    if status < 0:
        cause = f"the program was killed by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            cause += ", as a system does that has too little memory"
    else:
        cause = f"the program ended before its time, with exit code {status}"
    if printed:
        assert _progress is not None
        cause += f" (see {_progress.log})"
    _say(f"{cause}; {advice()}")
    return EXIT_FAILURE


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"relu-search: {one_line(line)}\n")
        sys.stderr.flush()


def _keep_if_printed(log: Path) -> bool:
    """Remove an empty file of printed text; whether there is a file with text."""
    with contextlib.suppress(OSError):
        if log.stat().st_size:
            return True
        log.unlink()
    return False


def _send(**message: Any) -> None:
    if _pipe is not None:
        with contextlib.suppress(OSError):
            os.write(_pipe, json.dumps(message).encode() + b"\n")


def _told(pipe: int) -> dict[str, Any]:
    """All that the child has sent; of two messages of one kind the last."""
    os.set_blocking(pipe, False)  # a process of the child may still have the other end
    with os.fdopen(pipe, "rb") as file:
        lines = (file.read() or b"").splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def _end(processes: set[int], spared: set[int]) -> None:
    """Kill child processes, and those that they leave to this process."""
    while processes:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        processes = _children() - spared


def _children() -> set[int]:
    """The child processes of this process, by Linux's /proc; elsewhere none."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return set()
    return set(map(int, text.split()))


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
