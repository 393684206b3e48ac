"""A working folder with bad files, for all verbs."""

from __future__ import annotations

import pytest
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a few bad files in the sub-folder `given`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELU_SEARCH_DATA", raising=False)
    given = tmp_path / "given"
    (given / "full").mkdir(parents=True)
    (given / "full" / "notes.txt").write_text("mine")
    (given / "file").write_text("mine")
    (given / "unknown.toml").write_text("colour = 'red'")
    (given / "old-run").mkdir()
    RunFolder(given / "old-run").write_config(SearchConfig(trials=2).resolve(), RUN_RECORD)
    return tmp_path
