"""The look of a series: the same colour, marker and line in every chart and figure.

The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), made for colour-blind readers;
some are darker here, so that each can be seen on white and on black. Each series also has its own
marker and line pattern, so that charts can be read without colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from relu_search.analysis.leaderboard import is_control
from relu_search.charts.placement_marks import Mark

DARK_GREY, MID_GREY = "#707070", "#808080"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#B8628F", "#B37400", "#2F8AC4"

SYMBOLS = {
    "o": "circle",
    "X": "x",
    "s": "square",
    "D": "diamond",
    "v": "triangle-down",
    "p": "pentagon",
    "*": "star",
    "P": "cross",
    "^": "triangle-up",
}
"""Marker of matplotlib -> that of Plotly."""
_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}


@dataclass(frozen=True)
class Style:
    """Colour, marker and line pattern of a series, as matplotlib has them."""

    color: str
    marker: str
    line: Any = "-"

    @property
    def symbol(self) -> str:
        """The marker, as Plotly names it."""
        return SYMBOLS[self.marker]

    @property
    def dash(self) -> str:
        """The line pattern, as Plotly names it."""
        if isinstance(self.line, str):
            return _DASHES[self.line]
        return ",".join(f"{2 * length}px" for length in self.line[1])


PAIRED = Style(DARK_GREY, "o")
CONTROL = Style(MID_GREY, "X", ":")
_MODULES = (
    Style(BLUE, "s", "--"),
    Style(GREEN, "D", "-."),
    Style(PURPLE, "v", (0, (5, 1, 1, 1, 1, 1))),
    Style(SKY, "p", (0, (2, 1))),
)
FOUND = (
    Style(VERMILLION, "*"),
    Style(ORANGE, "P", (0, (6, 2))),
    Style(VERMILLION, "^", (0, (1, 1))),
)


def module_styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each hand-designed module; paired and the control always have the same style."""
    known = dict.fromkeys(names)
    styles = {"paired": PAIRED, "linear": CONTROL}
    styles |= {name: CONTROL for name in known if is_control(name)}
    others = [name for name in known if name not in styles]
    return styles | {name: _MODULES[i % len(_MODULES)] for i, name in enumerate(others)}


def label(text: str, limit: int = 26) -> str:
    """Text for a figure: one line of printable ASCII and ±, at most `limit` characters long.

    Other characters become question marks. A longer text ends with an ellipsis.
    """
    plain = re.sub(r"[^ -~\xb1]", "?", text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def module_label(name: str) -> str:
    """The name of a hand-designed module in a figure; a control is marked as one."""
    return f"{name} (control)" if is_control(name) else label(name)


@dataclass(frozen=True)
class Series:
    """A placement that charts name in their legend."""

    mark: Mark
    name: str
    style: Style


def named_series(marks: Sequence[Mark]) -> list[Series]:
    """Every hand-designed module, then the best three found placements.

    Args:
        marks: of `marks_of`, best first.
    """
    modules = [mark for mark in marks if mark.module]
    styles = module_styles(sorted(mark.module for mark in modules))
    found = [mark for mark in marks if not mark.module][: len(FOUND)]
    return [
        *(Series(mark, module_label(mark.module), styles[mark.module]) for mark in modules),
        *(
            Series(mark, f"found {i}: {label(mark.placement, 18)}", style)
            for i, (mark, style) in enumerate(zip(found, FOUND, strict=False), start=1)
        ),
    ]
