"""An option is a dataclass field: its type, default, range and help text stand in one place.

The checks here and the flags of the command line are made from these fields.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from search_spaces import InputError
from search_spaces.errors import shown

Panel = Literal["Network", "Data", "Training", "Search", "Early stopping", "Machines", "Run"]
"""Groups of options in `--help`."""

_KEY = "option"
_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict[str, str]: "a table of texts",
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field says about its option, beside type and default value.

    Attributes:
        help: one or two short sentences for `--help`.
        panel: group in `--help`.
        default_text: the default in words, where the default value does not say it.
        metavar: what the value is called in `--help`; None: made from the type.
        least, most: smallest and largest value allowed.
        above: the value must be larger than this.
        may_change: whether a resumed run may have another value; true for options that do not
            change what is searched.
        flag: name of the flag, if it is not that of the field, which may be no word of Python.
        secret: whether the value may hold a password, so that no message shows it.
    """

    help: str
    panel: Panel
    default_text: str | None = None
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    may_change: bool = False
    flag: str | None = None
    secret: bool = False


def option(default: Any, panel: Panel, help: str, *, secret: bool = False, **more: Any) -> Any:
    """A dataclass field that is an option.

    Args:
        default: value of the field when it is left out.
        panel, help, more: of `Option`.
        secret: as in `Option`; the value is left out of `repr` too.
    """
    about = Option(help=help, panel=panel, secret=secret, **more)
    return field(default=default, repr=not secret, metadata={_KEY: about})


def same_option(kind: Any, name: str) -> Any:
    """A field with the default value and the option of a field of another dataclass."""
    other = next(one for one in fields(kind) if one.name == name)
    return field(default=other.default, repr=other.repr, metadata=other.metadata)


def options_of(kind: Any) -> dict[str, Option]:
    """Name of field -> its option, in the order of the fields."""
    return {one.name: one.metadata[_KEY] for one in fields(kind) if _KEY in one.metadata}


def with_numbers(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, and numbers written as text as numbers.

    The command line gives a text where an option allows a number or a certain word, such as
    `N|auto`. Options of other types keep their values.
    """
    hints = get_type_hints(kind)
    return {name: _as_number(value, alternatives(hints[name])) for name, value in values.items()}


def _as_number(value: Any, allowed: tuple[Any, ...]) -> Any:
    number = next((one for one in allowed if one in (int, float)), None)
    has_words = any(get_origin(one) is Literal for one in allowed)
    if type(value) is not str or number is None or not has_words:
        return value
    if "_" in value or not value.isascii():  # Python takes `1_000` for a number
        return value
    try:
        return number(value)
    except ValueError:
        return value


def check_options(values: Any) -> None:
    """Check type and range of every option of a dataclass instance.

    Raises:
        InputError: a value of another type, not finite, or out of range.
    """
    hints = get_type_hints(type(values))
    for name, about in options_of(values).items():
        value = getattr(values, name)
        _check_type(name, value, hints[name], secret=about.secret)
        _check_text(name, value)
        if type(value) in (int, float):
            _check_range(name.replace("_", " "), value, about)


def _check_range(name: str, value: float, about: Option) -> None:
    rules = [
        ("at most 64 bits long", type(value) is float or -(2**63) <= value < 2**63),
        (f"at least {about.least}", about.least is None or value >= about.least),
        (f"above {about.above}", about.above is None or value > about.above),
        (f"at most {about.most}", about.most is None or value <= about.most),
    ]
    broken = [rule for rule, kept in rules if not kept]
    if broken:
        raise InputError(f"{name} is {shown(value)}; it must be {broken[0]}")


def _check_type(name: str, value: Any, expected: Any, *, secret: bool) -> None:
    allowed = alternatives(expected)
    for one in allowed:
        if get_origin(one) is Literal:
            if isinstance(value, str) and value in get_args(one):
                return
        elif one is float and type(value) in (int, float):
            if _is_finite(value):
                return
        elif get_origin(one) is tuple:
            if type(value) is tuple and {type(item) for item in value} <= {get_args(one)[0]}:
                return
        elif get_origin(one) is dict:  # of texts
            if type(value) is dict and all(type(t) is str for pair in value.items() for t in pair):
                return
        elif type(value) is one:
            return
    choices = [word for one in allowed if get_origin(one) is Literal for word in get_args(one)]
    others = [_name(one) for one in allowed if get_origin(one) is not Literal]
    rule = f"one of {', '.join(choices)}" if len(choices) > 1 else " or ".join(choices + others)
    got = f"a value of type {type(value).__name__}" if secret else shown(value)
    raise InputError(f"{name} is {got}; it must be {rule}")


def _name(kind: Any) -> str:
    if kind is type(None):
        return "left out"
    if get_origin(kind) is tuple:
        return f"a tuple, each item {_name(get_args(kind)[0])}"
    return _NAMES.get(kind) or f"a {kind.__name__}"


def _is_finite(value: float) -> bool:
    """Whether a number is finite as a float; an int may be too large for one."""
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return math.isfinite(value)


def _check_text(name: str, value: object) -> None:
    """Check that a value, if it is a text, can be written to a file of options.

    Raises:
        InputError: it comes from bytes that are no UTF-8.
    """
    try:
        _ = value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError as error:
        raise InputError(f"{name} has bytes that are no UTF-8; use names in UTF-8") from error


def alternatives(expected: Any) -> tuple[Any, ...]:
    """The members of a union type; any other type alone."""
    return get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)
