"""Python in the documents is Python, what it imports from this project exists, and it runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")])
PACKAGES = ("relu_search", "search_spaces", "trials")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
WITH_PYTHON = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]
EXAMPLE = ROOT / "examples" / "own_network"
BEFORE = {  # what the commands on a page have made before its Python runs
    EXAMPLE / "README.md": """
from my_models import make_model
from relu_search import export_model
from search_spaces import FunctionBackbone, build

export_model(build(FunctionBackbone(make_model), num_classes=10, in_channels=1), "out/own")
"""
}


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


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_in_their_order(page, tmp_path):
    blocks = [BEFORE.get(page, ""), *BLOCK.findall(page.read_text(encoding="utf-8"))]
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks))
    found = os.pathsep.join([str(ROOT), str(EXAMPLE)])
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_reference_shows_every_public_name():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[::2] for name in re.findall(r"^::: (\S+)$", page, re.M)}
    for module, name in shown:
        assert hasattr(import_module(module), name), f"{module}.{name}"
    for package in ("relu_search", "trials"):
        assert set(import_module(package).__all__) <= {name for _, name in shown}
