"""Pages whose tables a program writes below the text of a person."""

from __future__ import annotations

from pathlib import Path

MARK = "<!-- generated below -->"


def write_below_mark(page: Path, content: str) -> None:
    """Replace what stands below the mark of a page; the text above it stays."""
    written = page.read_text().partition(MARK)[0] if page.exists() else ""
    page.write_text(f"{written}{MARK}\n\n{content}")
