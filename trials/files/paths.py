"""Paths as users type them."""

from __future__ import annotations

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
