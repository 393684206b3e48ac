"""Paths as users type them."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces import InputError
from search_spaces.errors import printable


def user_path(text: str | Path) -> Path:
    """The path that a user typed, with `~` expanded. The file need not exist.

    Raises:
        InputError: not a possible path (unknown user, too long, a NUL byte).
    """
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


def readable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 and control characters are escaped.

    Archives of old systems have names in other encodings. Such a name cannot be written to a file.
    """
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))
