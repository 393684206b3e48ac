"""Temporary folders that do not outlive the process that made them.

The owner of a folder holds a lock on it. If the owner dies, for whatever reason, the lock is free,
and whoever finds the folder removes it. A process id would not do: ids are used again, and each
container counts its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "relu-search-"
STAGING = ".export-"
"""Begin of the names of folders for the files of an export that is not complete."""
LONGEST_NAME = len(PREFIX) + 8
"""Bytes in the name of a folder: `tempfile` adds eight."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_OLD = 24 * 3600
"""Seconds after which a folder counts as abandoned on a file system without locks."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def owned_folder(parent: Path, prefix: str = PREFIX, *, watched: bool = False) -> Iterator[Path]:
    """A new folder of this process, removed at the end of the block.

    Folders with this prefix whose owners have died are removed first.

    Args:
        parent: an existing folder.
        watched: a small process of its own removes the folder if this process is killed, and ends
            the processes that write into it.

    Raises:
        OSError: no folder can be made there.
    """
    sweep(parent, prefix)
    path, descriptor = _made(parent, prefix)
    watcher = _watcher(path) if watched else None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)
        if watcher is not None:
            watcher.communicate()


def scratch_folder() -> contextlib.AbstractContextManager[Path]:
    """A new folder of this process where the system has its temporary files."""
    return owned_folder(Path(tempfile.gettempdir()))


def sweep(parent: Path, prefix: str = PREFIX) -> None:
    """Remove this user's folders with this prefix whose owners have died.

    Processes that still write into such a folder were started by its owner, and are killed.
    """
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{prefix}*"):
            remove_if_abandoned(path)


def sweep_everywhere() -> None:
    """Sweep all folders in which this program makes temporary folders."""
    named = (os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR"))
    for parent in dict.fromkeys([*filter(None, named), *SHORT_FOLDERS]):
        sweep(Path(parent))


def remove_if_abandoned(path: Path) -> bool:
    """Remove a folder if its owner has died; whether it is gone."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return True
    except OSError:  # a link, a file, or another user's
        return False
    try:
        if os.fstat(descriptor).st_uid != os.geteuid() or has_owner(descriptor):
            return False
        _end_writers(path)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
    return not path.exists()


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        descriptor = -1
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, _OPEN)
        if descriptor >= 0:
            if _took_lock(descriptor) is not False and path.exists():
                return path, descriptor
            os.close(descriptor)
        # Another process sweeps the folder, as it was not locked yet.


def has_owner(descriptor: int) -> bool:
    """Whether another process holds the lock of an open file or folder; else this one takes it.

    On a file system without locks, what was changed within a day has an owner.
    """
    taken = _took_lock(descriptor)
    if taken is None:
        return time.time() - os.fstat(descriptor).st_mtime < _OLD
    return not taken


def _took_lock(descriptor: int) -> bool | None:
    """Whether this process has the lock now; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _end_writers(path: Path, patience: float = 5) -> None:
    """Kill the processes that have a file of this folder open for writing, until none is left."""
    end = time.monotonic() + patience
    while (writers := _writers(path)) and time.monotonic() < end:
        for pid in writers:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _writers(path: Path) -> set[int]:
    """Processes of this user that have a file of a folder open for writing, by Linux's /proc."""
    inside, found = f"{path.absolute()}/", set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # another user's, or it has ended
            if os.readlink(link).startswith(inside) and os.lstat(link).st_mode & 0o200:
                found.add(int(link.parts[2]))
    return found - {os.getpid()}


def _watcher(path: Path) -> subprocess.Popen[bytes]:
    """A process that waits until this one has ended, and then removes the folder."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _watch(path: Path, patience: float = 10) -> None:
    sys.stdin.buffer.read()  # it ends when the owner ends
    end = time.monotonic() + patience
    while not remove_if_abandoned(path) and time.monotonic() < end:
        time.sleep(0.02)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
