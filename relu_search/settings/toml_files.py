"""TOML files of options."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from search_spaces import InputError
from trials.files.given import read_given

_MAX_TOML_BYTES = 4_000_000
_LONGEST_LINE = 10_000  # of a TOML file: the time for `a.a.a... = 1` grows with its square


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: the file is missing, no regular file, too large, or not TOML; or a whole number
            has more than 64 bits, which TOML does not promise.
    """
    try:
        content = read_given(file, _MAX_TOML_BYTES)
    except OSError as error:
        raise InputError(f"config {file} cannot be read: {error.strerror or error}") from error
    if max(map(len, content.splitlines()), default=0) > _LONGEST_LINE:
        raise InputError(f"config {file} has a line of over {_LONGEST_LINE} bytes; not a config")
    try:
        text = content.decode("utf-8-sig")  # Windows editors write a byte-order mark
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(f"config {file} is not UTF-8 text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config {file} is not valid TOML: {error}") from error
    values: list[Any] = [document]
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(
                f"config {file} has a whole number of {value.bit_length()} bits; write at most 64"
            )
    return document
