"""The style that all figures share: width, fonts, colours, labels, and which trials they name.

The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), made for colour-blind readers.
Each series also has its own marker and line pattern, so that figures can be read without colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from relu_search.analysis.estimates import full_length
from relu_search.analysis.leaderboard import is_control, ranked, rows_of
from relu_search.settings.metrics import Metric

PAGE_WIDTH = 7.2  # inches
BLACK, GREY, FAINT = "#000000", "#666666", "#c4c4c4"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 200,
    "svg.hashsalt": "relu-search",  # the same figure gives the same bytes
    "text.parse_math": False,  # a dollar sign in a name is shown as it is
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
styled = rc_context(RC)
"""Decorator: the function draws in this style; the style of other matplotlib users is unchanged."""

FileFormat = Literal["svg", "png", "pdf"]
_NO_DATE: dict[FileFormat, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Style:
    """Colour, marker and line pattern of a series."""

    color: str
    marker: str
    line: Any = "-"


_PAIRED = Style(BLACK, "o")
_CONTROL = Style(GREY, "X", ":")
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
    styles = {"paired": _PAIRED, "linear": _CONTROL}
    styles |= {name: _CONTROL for name in known if is_control(name)}
    others = [name for name in known if name not in styles]
    return styles | {name: _MODULES[i % len(_MODULES)] for i, name in enumerate(others)}


def module_label(name: str) -> str:
    """The name of a hand-designed module in a figure; a control is marked as one."""
    return f"{name} (control)" if is_control(name) else label(name)


def label(text: str, limit: int = 26) -> str:
    """Text for a figure: one line of printable ASCII and ±, at most `limit` characters long.

    Other characters become question marks. A longer text ends with an ellipsis.
    """
    plain = re.sub(r"[^ -~\xb1]", "?", text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


@styled
def new_figure(height: float) -> Figure:
    """An empty figure of page width; `height` in inches."""
    return Figure(figsize=(PAGE_WIDTH, height), layout="constrained")


def empty_figure(reason: str) -> Figure:
    """A figure with one line of text: the reason why there is nothing to draw."""
    figure = new_figure(1.0)
    figure.text(0.5, 0.5, reason, ha="center", va="center", color=GREY)
    return figure


@styled
def add_note(figure: Figure, text: str) -> None:
    """Write a line below a figure."""
    figure.supxlabel(label(text, 100), x=0.01, ha="left", fontsize=7, color=GREY)


@styled
def rendered(figure: Figure, form: FileFormat) -> bytes:
    """The bytes of the figure's file. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=_NO_DATE[form])
    return buffer.getvalue()


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain tick labels such as 0.1, 0.2, 1, 10, 1,000.

    matplotlib writes such labels as formulas, which `text.parse_math` shows as raw markup. Call
    this after everything is drawn: the choice of ticks depends on the limits.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = float(np.log10(high / low))
    marks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 1 else tuple(range(1, 10))
    axes.yaxis.set_major_locator(LogLocator(subs=marks, numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def modules_and_found(
    trials: pd.DataFrame, metric: Metric, limit: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The placements that figures show: hand-designed modules, and the `limit` best found.

    Each placement comes once, as its best row of `trials.csv`, in the order of the leaderboard.
    Only full-length trials count. While there is none, trials that were stopped early are shown.
    """
    complete = full_length(trials, metric)
    stopped = trials[(trials["state"] == "PRUNED") & trials[metric.name].notna()]
    order = ranked(stopped if complete.empty else complete, metric)
    is_found = order["module"] == ""
    modules = order[~is_found].drop_duplicates("module")
    found = order[is_found].drop_duplicates("placement").head(limit)
    return rows_of(modules), rows_of(found)


@dataclass(frozen=True)
class Named:
    """A placement that figures name in their legend."""

    placement: str
    name: str
    style: Style


def named_placements(trials: pd.DataFrame, metric: Metric) -> list[Named]:
    """Every hand-designed module and the best three found placements, with their styles."""
    modules, found = modules_and_found(trials, metric, len(FOUND))
    styles = module_styles(sorted(row["module"] for row in modules))
    named = [
        Named(row["placement"], module_label(row["module"]), styles[row["module"]])
        for row in modules
    ]
    for i, row in enumerate(found):
        name = f"found {i + 1}: {label(row['placement'], 18)}"
        named.append(Named(row["placement"], name, FOUND[i]))
    return named
