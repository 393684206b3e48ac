"""The notebooks are kept without outputs, and run; in them the live view is one panel."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("examples/notebooks/*.ipynb"))


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path):
    assert path.stat().st_size < 20_000
    for cell in code_cells(read(path)):
        assert (cell.outputs, cell.execution_count) == ([], None)


def test_there_are_four_and_the_page_names_them():
    page = (ROOT / "examples" / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 4
    assert [path.name for path in NOTEBOOKS if f"({path.name})" not in page] == []


def panels(cell):
    """The outputs of a cell that show a live view."""
    return [o for o in cell.outputs if "best so far" in o.get("data", {}).get("text/plain", "")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_a_search_is_one_panel(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = read(path)
    NotebookClient(
        notebook, timeout=1500, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    searches = [cell for cell in code_cells(notebook) if "LiveView()" in cell.source]
    assert searches
    for cell in searches:
        [panel] = panels(cell)
        trials = re.search(r"trials=(\d+)", cell.source)[1]
        assert f"{trials}/{trials} trials" in panel.data["text/plain"]
        assert "<pre" in panel.data["text/html"]
        streams = "".join(o.text for o in cell.outputs if o.output_type == "stream")
        assert "trial 0" not in streams  # no line for each trial
    assert len(nbformat.writes(notebook)) < 300_000
