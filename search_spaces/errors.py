"""The one exception that means "the input is at fault, not the program"."""

from __future__ import annotations

_LONGEST = 1_000


class InputError(ValueError):
    """Bad input: the message gives the value received, the rule, and the way out.

    The command line prints it as one line and exits with code 2. Whatever the value was, the
    message is one printable line of bounded length: it may quote files of unknown origin, and ends
    up in terminals, tables and reports.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """A text on one line, cut where it is very long, its control characters written as escapes."""
    line = " ".join(text[: 4 * _LONGEST].split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
