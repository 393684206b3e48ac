"""Python in the documents is Python, and what it imports from this project exists."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")])
PACKAGES = ("relu_search", "search_spaces", "trials")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def imported(block):
    """(module, name) of what a block imports from this project."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_can_be_read_and_import_what_exists(page):
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for module, name in imported(block):
            assert hasattr(import_module(module), name), f"{module}.{name}"


def test_the_reference_shows_every_public_name():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[::2] for name in re.findall(r"^::: (\S+)$", page, re.M)}
    for module, name in shown:
        assert hasattr(import_module(module), name), f"{module}.{name}"
    for package in ("relu_search", "trials"):
        assert set(import_module(package).__all__) <= {name for _, name in shown}
