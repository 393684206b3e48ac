"""TOML files of options."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from search_spaces import InputError

_MAX_TOML_BYTES = 4_000_000
_LONGEST_LINE = 10_000  # of a TOML file: the time for `a.a.a... = 1` grows with its square


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: the file is missing, too large, or not TOML.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_TOML_BYTES + 1)
    except OSError as error:
        raise InputError(f"config {file} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_TOML_BYTES:
        raise InputError(f"config {file} is larger than {_MAX_TOML_BYTES} bytes; not a config")
    if max(map(len, content.splitlines()), default=0) > _LONGEST_LINE:
        raise InputError(f"config {file} has a line of over {_LONGEST_LINE} bytes; not a config")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # Windows editors write a byte-order mark
    except UnicodeDecodeError as error:
        raise InputError(f"config {file} is not UTF-8 text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config {file} is not valid TOML: {error}") from error
