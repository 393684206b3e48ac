"""Paths as users type them."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces import InputError
from search_spaces.errors import require_type


def user_path(text: str | Path) -> Path:
    """The path that a user typed, with `~` expanded. The file need not exist.

    Raises:
        InputError: no text or Path, or not a possible path (unknown user, too long, a NUL byte).
    """
    require_type("path", text, (str, os.PathLike), "a text or a Path")
    try:
        if "\0" in str(text):
            raise ValueError("it has a NUL byte")
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"path {str(text)[:80]!r} cannot be used ({reason}); give another path"
        ) from error
    return path
