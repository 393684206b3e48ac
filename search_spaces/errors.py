"""InputError: the exception for bad input."""

from __future__ import annotations

_LONGEST = 1_000


class InputError(ValueError):
    """Bad input: the message gives the value received, the rule, and the way out.

    The command line prints it as one line and exits with code 2. The message is always one
    printable line of at most 1,000 characters: it may quote files of unknown origin, and terminals,
    tables and reports show it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text as one line of at most 1,000 characters, with control characters escaped."""
    line = printable(" ".join(text[: 4 * _LONGEST].split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def printable(text: str, keep: str = "") -> str:
    """The text with control characters, but for those of `keep`, and lone surrogates escaped.

    A terminal obeys some control characters, and no file can hold a lone surrogate.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
