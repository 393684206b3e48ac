"""A lock on a folder: one process works in it at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError

# A link may lead out of the folder, and the open of a FIFO may wait.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, the file `.lock` in it. Never waits.

    The operating system releases the lock when the process ends for any reason, `kill -9` too.

    This calls `flock` itself and does not use the package filelock, because filelock does not
    refuse a file system without locks. Its versions differ there: some use a marker file instead,
    which two nodes can both create over a network and which stays after a kill. It also reports
    a permission error as a lock that another process holds.

    Raises:
        InputError: another process holds the lock, the folder cannot be written, or its file
            system has no locks.
    """
    try:
        descriptor = os.open(folder / ".lock", _FLAGS, 0o666)
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be written ({error.strerror or error}); make it writable"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is at work in {folder}; wait for it or stop it"
            ) from error
        except OSError as error:
            raise InputError(
                f"folder {folder} is on a file system without locks ({error.strerror}); use "
                "another file system, or mount this one with locks"
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine holds the lock of a folder. Takes no lock.

    Raises:
        OSError: there is no /proc/locks, which only Linux has.
    """
    held = Path("/proc/locks").read_text()
    try:
        about = os.stat(folder / ".lock", follow_symlinks=False)
    except OSError:
        return False
    own = (os.major(about.st_dev), os.minor(about.st_dev))
    for line in held.splitlines():  # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:2148559 0 EOF
        fields = line.split()
        if fields[1] == "FLOCK":
            major, minor, inode = fields[-3].split(":")
            device = (int(major, 16), int(minor, 16))
            # Some file systems, such as btrfs, name another device of number 0 here.
            if int(inode) == about.st_ino and (device == own or device[0] == 0):
                return True
    return False
