"""The style that all figures share: width, fonts, logarithmic axes, and how files are made.

The colours and markers of series are those of the charts, in `charts/series.py`.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from relu_search.charts.series import label

PAGE_WIDTH = 7.2  # inches
BLACK, GREY, FAINT = "#000000", "#666666", "#c4c4c4"

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
    if decades > 1:
        marks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=marks, numticks=12))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
