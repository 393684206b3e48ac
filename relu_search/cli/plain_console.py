"""A rich console that shows texts as they are: no markup, no emoji codes, no control characters."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from search_spaces.errors import printable


class PlainConsole(Console):
    """For texts that users and files give: names, paths, reasons of failures."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """rich calls this for every text that it is given, cells of tables included."""
        return super().render_str(printable(text, keep="\n"), **options)
