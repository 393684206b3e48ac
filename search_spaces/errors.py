"""InputError: the exception for bad input."""

from __future__ import annotations

import os
import reprlib
from numbers import Number
from typing import Any

_LONGEST = 1_000
_LONGEST_VALUE = 80


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


def shown(value: object) -> str:
    """A value of unknown type, as a message shows it: at most 80 characters.

    Texts, numbers and short collections of them are shown as they are, of other objects, such as
    arrays and networks, only the type.
    """
    text = _SHORT.repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def require_type(what: str, value: object, kind: type | tuple[type, ...], rule: str) -> None:
    """Check the type of an argument.

    Raises:
        InputError: another type; `rule` follows "it must be".
    """
    if not isinstance(value, kind):
        raise InputError(f"{what} is {shown(value)}; it must be {rule}")


class _ShortRepr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        large = x.bit_length() > 200  # Python refuses to print thousands of digits
        return f"a whole number of {x.bit_length()} bits" if large else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        if x is None or isinstance(x, Number | bytes | os.PathLike):
            return repr(x)
        return f"a value of type {type(x).__name__}"


_SHORT = _ShortRepr()
_SHORT.maxstring = 60


def printable(text: str, keep: str = "") -> str:
    """The text with control characters, but for those of `keep`, and lone surrogates escaped.

    A terminal obeys some control characters, and no file can hold a lone surrogate.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
