"""The looks of series: told apart without colour, seen on light and on dark pages."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_rgb

from relu_search.charts.series import CONTROL, FOUND, label, module_styles

NAMES = ["paired", "linear", "2:1", "3:1", "3:2/type1", "4:3"]


def luminance(color):
    """Of WCAG 2."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("page", ["#ffffff", "#16181c"])
def test_every_colour_is_seen_on_the_page(page):
    for style in (*module_styles(NAMES).values(), *FOUND):
        high, low = sorted((luminance(style.color), luminance(page)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3  # WCAG 2: graphics


def test_every_series_has_a_marker_and_a_line_of_its_own():
    styles = [*module_styles(NAMES).values(), *FOUND]
    assert len({style.symbol for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)
    assert {style.dash for style in styles} >= {"solid", "dash", "dashdot", "dot", "12px,4px"}


def test_every_form_of_the_control_has_the_style_of_the_control_and_no_module_has_it():
    styles = module_styles(["paired", "2:1", "linear@drop-norm", "3:2/type1", "linear"])
    assert styles["linear@drop-norm"] == styles["linear"] == CONTROL
    others = [styles[name] for name in ("paired", "2:1", "3:2/type1")]
    assert CONTROL not in others
    assert len(set(map(repr, others))) == 3


@pytest.mark.parametrize(
    ("text", "shown"), [("$x^$", "$x^$"), ("a\nb\x00é", "a?b??"), ("y" * 40, "y" * 25 + "…")]
)
def test_a_label_is_one_short_line(text, shown):
    assert label(text) == shown
