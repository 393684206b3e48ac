"""The benchmark of time budgets: a search that is killed and resumed, and the table."""

from __future__ import annotations

import pytest

from benchmarks.speed.time_budgets import Measured, Search, measured, page


def test_a_row_has_the_deviations_from_the_budget():
    rows = [(Search(100, 2, "--epochs 3", killed_after=40), Measured(103.0, 98.0, 12, 10))]
    assert [*page(rows)][-1] == (
        "| 100 s | 2 | `--epochs 3` | 40 s | 103.0 s (+3.0%) | 98.0 s (-2.0%) | 12 | 10 |"
    )


@pytest.mark.slow
def test_a_search_is_killed_and_resumed(tmp_path):
    options = "--backbone plain-8 --width 2 --train-limit 64 --epochs 1"
    found = measured(Search(60, 1, options, killed_after=30), tmp_path / "run")
    assert 0 < found.counted < found.seconds
    assert found.trials > 0
    assert found.estimated > 0
