"""Files: paths that users type, and files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces import InputError


def user_path(text: str | Path) -> Path:
    """A path as a user typed it, `~` expanded.

    Raises:
        InputError: no path can look like that (unknown user, too long, a NUL byte).
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"path {str(text)[:80]!r} cannot be used: {reason}") from error
    return path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write to a temporary file beside `path`, then rename it: readers see all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
