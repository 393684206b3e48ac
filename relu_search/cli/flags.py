"""Flags of a verb, made from dataclass fields: name, type, default and help text are theirs."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from relu_search.settings.option_fields import Option, Panel, alternatives, options_of

Given: TypeAlias = dict[str, Any]
"""Field name -> value, of the flags that the user typed."""

_PANELS: tuple[str | None, ...] = (None, *get_args(Panel))


@dataclass(frozen=True)
class Flag:
    """A flag of the command line that stands for a field.

    Attributes:
        name: of the field.
        type: of the value on the command line; a text where the field allows several types.
        choices: all values allowed, for shell completion; empty if there is no such list.
        default_text: the default in words; empty where there is nothing to say.
        is_on: whether it is a switch that is on by default; `--no-NAME` turns it off.
    """

    name: str
    about: Option
    type: type
    choices: tuple[str, ...]
    default_text: str
    is_on: bool

    @property
    def typed_as(self) -> str:
        """`--max-relus` for the field `max_relus`; `--report/--no-report` for a switch."""
        name = self.about.flag or self.name.replace("_", "-")
        return f"--{name}/--no-{name}" if self.is_on else f"--{name}"

    @property
    def help(self) -> str:
        """Help text of the field, with the default."""
        default = f" [default: {self.default_text}]" if self.default_text else ""
        return self.about.help + default

    def parameter(self) -> inspect.Parameter:
        """As Typer reads it from a signature. None means that the flag was not typed."""
        info = typer.Option(
            self.typed_as,
            help=self.help,
            rich_help_panel=self.about.panel,
            metavar=self.about.metavar,
            show_default=False,
            autocompletion=(lambda: list(self.choices)) if self.choices else None,
        )
        kind: Any = self.type | None
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind, info],
        )


def flags(kind: Any, *names: str, default_text: str | None = None) -> list[Flag]:
    """Flags for fields of a dataclass.

    Args:
        kind: the dataclass.
        names: of the fields; all options if there are none.
        default_text: the default in words, if it differs in this verb.
    """
    hints, options = get_type_hints(kind), options_of(kind)
    defaults = {one.name: one.default for one in fields(kind)}
    return [
        _flag(name, options[name], hints[name], defaults[name], default_text)
        for name in names or options
    ]


def _flag(name: str, about: Option, hint: Any, default: Any, default_text: str | None) -> Flag:
    types = [one for one in alternatives(hint) if one is not type(None)]
    alone = types[0] if len(types) == 1 else str
    if default_text is None:
        default_text = about.default_text
    if default_text is None:
        default_text = "" if default is None or default is False else str(default)
    is_choice = all(get_origin(one) is Literal for one in types)
    return Flag(
        name=name,
        about=about,
        type=alone if alone in (bool, int, float) else str,
        choices=tuple(c for one in types for c in get_args(one)) if is_choice else (),
        default_text=default_text,
        is_on=default is True,
    )


def with_flags(*groups: Iterable[Flag]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb these flags besides its own parameters.

    The verb receives the typed ones in its first parameter, a `Given`. Flags and own options are
    ordered by panel.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(verb, eval_str=True).parameters.values()
        from_fields = [flag.parameter() for group in groups for flag in group]
        names = {parameter.name for parameter in from_fields}

        @functools.wraps(verb)
        def command(**values: Any) -> None:
            given = {n: v for n, v in values.items() if n in names and v is not None}
            verb(given, **{n: v for n, v in values.items() if n not in names})

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in sorted([*from_fields, *own], key=_place_of_panel)
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def with_plain_numbers(verb: Callable[..., None]) -> Callable[..., None]:
    """Let the numbers of a verb have digits only: Python would also take `1_000` for a number."""
    parameters = inspect.signature(verb, eval_str=True).parameters.values()
    for parameter in parameters:
        kind, *about = get_args(parameter.annotation) or [None]
        number = next((one for one in alternatives(kind) if one in (int, float)), None)
        for info in about:
            if number is not None and isinstance(info, ParameterInfo):
                info.parser = functools.partial(_plain_number, number)
                info.metavar = info.metavar or ("INTEGER" if number is int else "FLOAT")
    verb.__annotations__ = {one.name: one.annotation for one in parameters}
    return verb


def _plain_number(number: type, given: str | float) -> Any:
    """The number that is typed; a default is one already."""
    text = str(given)
    with contextlib.suppress(ValueError):
        if "_" not in text and text.isascii():
            return number(text)
    raise ValueError(f"{text!r:.60} is not a {'whole ' if number is int else ''}number")


def _place_of_panel(parameter: inspect.Parameter) -> int:
    panels = (getattr(one, "rich_help_panel", None) for one in get_args(parameter.annotation))
    return _PANELS.index(next(filter(None, panels), None))
