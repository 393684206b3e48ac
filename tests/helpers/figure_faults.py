"""Faults of a figure: text that overlaps, leaves the canvas or shows markup; empty axes."""

from __future__ import annotations

import re
from itertools import combinations
from unittest import mock

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

MARKUP = re.compile(r"[$\\{}^<>]|math|&\w+;")
_TOUCH = 1.0  # pixels that two boxes may share: a box is larger than its letters


def drawn_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Each text that a reader sees, and its box in pixels of the figure."""
    canvas = FigureCanvasAgg(figure)
    texts: list[Text] = []
    draw = Text.draw

    def draw_and_keep(text: Text, renderer: RendererBase) -> None:
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        draw(text, renderer)

    with mock.patch.object(Text, "draw", draw_and_keep):
        canvas.draw()
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]


def faults_of(figure: Figure) -> list[str]:
    """One line for each fault of the figure."""
    texts = drawn_texts(figure)
    width, height = figure.get_size_inches() * figure.dpi
    faults = [f"shows markup: {text!r}" for text, _ in texts if MARKUP.search(text)]
    faults += [
        f"leaves the canvas: {text!r}"
        for text, box in texts
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]
    faults += ["empty axes" for axes in figure.axes if axes.axison and not axes.has_data()]
    return faults + [
        f"overlap: {one!r} and {other!r}"
        for (one, a), (other, b) in combinations(texts, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > _TOUCH and min(a.y1, b.y1) - max(a.y0, b.y0) > _TOUCH
    ]
