"""Paths as users type them."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces import InputError
from search_spaces.errors import printable, require_type

DATA_DIR_VARIABLE = "RELU_SEARCH_DATA"


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


def data_directory(data_dir: str | Path | None) -> Path:
    """Folder of torchvision's data sets: the argument, else `RELU_SEARCH_DATA`, else `./data`."""
    return user_path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data")


def absolute_path(text: str | Path) -> str:
    """The path that a user typed, from the root, so that it holds in every working directory.

    Symbolic links stay, so that they may point elsewhere later; only before a `..` they cannot.

    Raises:
        InputError: as `user_path`.
    """
    path = user_path(text).absolute()
    return str(path.resolve() if ".." in path.parts else path)


def absolute_data(name: str) -> str:
    """A data set name, the folder of `folder:DIR` or `parquet:DIR` from the root.

    Raises:
        InputError: as `user_path`.
    """
    kind, colon, folder = name.partition(":")
    is_folder = colon and folder and kind in ("folder", "parquet")
    return f"{kind}:{absolute_path(folder)}" if is_folder else name


def readable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 and control characters are escaped.

    Archives of old systems have names in other encodings. Such a name cannot be written to a file.
    """
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))
