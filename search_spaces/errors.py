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
    line = " ".join(text[: 4 * _LONGEST].split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
