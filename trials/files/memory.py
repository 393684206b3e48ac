"""How much memory a process may use, and the check before something large is made."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces import InputError


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that this process may use: the machine's memory or the limit of its container.

    A container's limit is that of its control group, of version 1 or 2, or of a group around it.

    Args:
        root: of the file system that has `proc` and `sys`.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        groups = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        groups = []
    for group in groups:
        _, _, rest = group.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        innermost = top / path.lstrip("/")
        for folder in (innermost, *innermost.parents):
            limits += _limit_in(folder / name)
            if folder == top:
                break
    return min(limits)


def require_memory(what: str, size: int, way_out: str) -> None:
    """Check that something fits into memory before it is made.

    Args:
        what: what takes the memory, for the message.
        size: bytes.
        way_out: what the user can do instead.

    Raises:
        InputError: it takes more than this process may use.
    """
    limit = memory_limit()
    if size > limit:
        raise InputError(
            f"{what} would take {size / 2**30:,.1f} GiB of memory, and this process may use "
            f"{limit / 2**30:,.1f}; {way_out}"
        )


def _limit_in(file: Path) -> list[int]:
    """The limit in a file of a control group; none where it is missing or says `max`."""
    try:
        text = file.read_text(errors="replace").strip()
    except OSError:
        return []
    return [int(text)] if text.isascii() and text.isdigit() else []
