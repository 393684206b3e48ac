"""What all figures share: page width, fonts, and styles that do not rest on colour alone.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), made for colour-blind readers; every
series also has a marker and a line pattern of its own, so that figures can be read in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relu_search.analysis.leaderboard import is_control

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
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
styled = rc_context(RC)
"""Decorator: the function draws with this style, and other users of matplotlib are left alone."""

FileFormat = Literal["svg", "png", "pdf"]
_NO_DATE: dict[FileFormat, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Style:
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
    """A style for each hand-designed module; paired and the control always look the same."""
    known = dict.fromkeys(names)
    styles = {"paired": _PAIRED, "linear": _CONTROL}
    styles |= {name: _CONTROL for name in known if is_control(name)}
    others = [name for name in known if name not in styles]
    return styles | {name: _MODULES[i % len(_MODULES)] for i, name in enumerate(others)}


def module_label(name: str) -> str:
    return f"{name} (control)" if is_control(name) else label(name)


def label(text: str, limit: int = 26) -> str:
    """Text for a figure: one line of printable ASCII and ±, shortened with an ellipsis."""
    plain = re.sub(r"[^ -~\xb1]", "?", text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


@styled
def new_figure(height: float) -> Figure:
    """An empty figure of page width; `height` in inches."""
    return Figure(figsize=(PAGE_WIDTH, height), layout="constrained")


def empty_figure(reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(1.0)
    figure.text(0.5, 0.5, reason, ha="center", va="center", color=GREY)
    return figure


@styled
def rendered(figure: Figure, form: FileFormat) -> bytes:
    """The figure as the bytes of a file, equal for equal figures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=_NO_DATE[form])
    return buffer.getvalue()


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str]], obstacles: Sequence[tuple[float, float]]
) -> None:
    """Write a text beside each point where it covers no earlier text, no obstacle and no border.

    Limits and layout must be settled before: what is free depends on them. Where no place is
    free, the one that covers least is taken.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    marks = [axes.transData.transform(obstacle) for obstacle in obstacles]
    taken: list[Any] = []
    for x, y, text in points:
        best: tuple[int, Any, Any] | None = None
        for dx, dy, ha, va in _OFFSETS:
            note = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8
            )
            box = note.get_window_extent(renderer).padded(2)
            cost = sum(box.overlaps(other) for other in taken) * 4
            cost += sum(box.contains(*mark) for mark in marks)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            cost += 8 * (not (inside and frame.y0 <= box.y0 and box.y1 <= frame.y1))
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, note, box)
            else:
                note.remove()
            if best[0] == 0:
                break
        if best is not None:
            taken.append(best[2])


_OFFSETS = tuple(
    (
        dx * reach,
        dy * reach,
        ("right", "center", "left")[dx + 1],
        ("top", "center", "bottom")[dy + 1],
    )
    for reach in (6, 16, 28, 42)
    for dx, dy in ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
)
