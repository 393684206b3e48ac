"""A reproduction with a time budget, on a clock that the test moves."""

from __future__ import annotations

from functools import partial

import pytest
from helpers.clock import Clock
from helpers.judging import Runner, drawn
from helpers.reproducing import reproduced, small

from relu_search.run_folder.time_spent import time_spent
from search_spaces import InputError
from trials.running.time_budget import TimeBudget


def test_a_reproduction_ends_in_time_and_goes_on_with_more(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        "relu_search.reproduce.run_experiment.TimeBudget", partial(TimeBudget, clock=clock)
    )

    def accuracy(placement, seed):
        clock.now += 5  # in each of two epochs
        return drawn(placement, seed)

    runner, lines = Runner(accuracy), []
    run = partial(reproduced, small(depths=(8,)), tmp_path / "out", runner, report=lines.append)
    assert not run(time_budget="29s").is_complete
    assert len(runner.calls) == 2
    assert any("about 4 of 4 trainings in 29 s: " in line for line in lines)
    assert time_spent(tmp_path / "out", "reproduce") == 20
    assert not run(time_budget="35s", since=clock.now - 4).is_complete
    assert len(runner.calls) == 3
    assert time_spent(tmp_path / "out", "reproduce") == 34
    assert run(time_budget="1m").is_complete
    assert len(runner.calls) == 4


def test_a_time_in_another_form_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"^time budget is '1 day'; write a time"):
        reproduced(small(), tmp_path / "out", None, time_budget="1 day")
    assert list(tmp_path.iterdir()) == []
