"""Storage URLs, whose passwords must not be shown."""

from __future__ import annotations

import re
from pathlib import Path

from search_spaces import InputError
from trials.files.paths import absolute_path

_LONGEST_URL = 2_000
_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///(?:file:)?)([^?:]+)(\?.*)?")


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None: it is the URL of another database, or has no file."""
    parts = _SQLITE.fullmatch(url)
    return Path(absolute_path(parts[2])) if parts else None


def with_absolute_file(url: str) -> str:
    """A storage URL; the path of an SQLite file is written from the root."""
    parts = _SQLITE.fullmatch(url)
    file = sqlite_file(url)
    if parts is None or "?" in str(file):  # it would end the path
        return url
    return f"{parts[1]}{file}{parts[3] or ''}"


def without_password(url: str, *, shown: bool = True) -> str:
    """A storage URL whose password, if any, is shown as `***` or left out.

    It may be malformed, so no parser of URLs is asked where the password ends: at the last `@`.
    Passwords among the options behind the `?` are replaced in any case.
    """
    url = _SECRET_OPTION.sub(r"\1***", url)
    before, at, host = url.rpartition("@")
    user = re.match(r"\w[\w+]*://[^:/@]*", before)
    if url.startswith("sqlite") or not at or (user and user[0] == before):
        return url
    return f"{user[0] if user else ''}{':***' if shown else ''}@{host}"


def require_encoded(url: str) -> None:
    """Refuse a URL that drivers would cut at the wrong `@`, and so show half of its password.

    Raises:
        InputError: there is more than one, or the URL is too long to be one.
    """
    if len(url) > _LONGEST_URL:
        raise InputError(f"storage has {len(url)} characters; at most {_LONGEST_URL} make a URL")
    if not url.startswith("sqlite") and url.partition("?")[0].count("@") > 1:
        raise InputError(
            f"storage {without_password(url)} has more than one @; write those of the user and the "
            "password as %40"
        )
