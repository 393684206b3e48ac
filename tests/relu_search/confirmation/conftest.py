"""A made-up finished search to confirm."""

from __future__ import annotations

import pytest
from helpers.judging import make_search


@pytest.fixture
def folder(tmp_path):
    return make_search(tmp_path / "run")
