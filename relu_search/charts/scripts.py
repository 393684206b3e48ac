"""The two scripts of a page with charts. Neither requests anything."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources


@cache
def plotly_script() -> str:
    """Plotly's own JavaScript, from its package."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def draw_script() -> str:
    """The script that draws the charts of a page; it says in its first lines what it needs."""
    return resources.files("relu_search.charts").joinpath("draw.js").read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """A script as a content security policy names it: `'sha256-...'`."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
