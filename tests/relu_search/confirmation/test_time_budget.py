"""A confirmation with a time budget, on a clock that the test moves."""

from __future__ import annotations

from functools import partial

import pytest
from helpers.clock import Clock
from helpers.confirming import confirmed, refuse
from helpers.judging import DEFAULT_ARMS, Runner, drawn, files_under, make_search, read_rows

from relu_search.run_folder.time_spent import time_spent
from search_spaces import InputError
from trials.running.time_budget import TimeBudget

TRAINING = 10  # seconds
ARMS = len(DEFAULT_ARMS)


@pytest.fixture
def folder(tmp_path):
    return make_search(tmp_path / "run")


@pytest.fixture
def runner(monkeypatch):
    """Its trainings take `TRAINING` seconds."""
    clock = Clock()
    budget = partial(TimeBudget, clock=clock)
    monkeypatch.setattr("relu_search.confirmation.confirm.TimeBudget", budget)

    def accuracy(placement, seed):
        clock.now += TRAINING / 2  # it is asked for each of two epochs
        return drawn(placement, seed)

    made = Runner(accuracy)
    made.clock = clock
    return made


def scored(folder):
    return [
        (row["arm"], int(row["seed"]))
        for row in read_rows(folder / "confirm.csv")
        if row["test_accuracy"]
    ]


def test_the_verdicts_are_of_the_seeds_that_are_complete_and_more_time_goes_on(folder, runner):
    lines = []
    options = {"seeds": 3, "report": lines.append}
    first = confirmed(folder, runner, time_budget=f"{13 * TRAINING + 5}s", **options)
    assert first.ending == "out of time"
    assert len(read_rows(folder / "confirm.csv")) == 13
    assert scored(folder) == [(arm, seed) for seed in (1, 2) for arm in DEFAULT_ARMS]
    assert {row["n"] for row in first.verdicts} == {2}
    assert any(line.startswith("about 15 of 15 trainings in 2.2 min: ") for line in lines)
    assert time_spent(folder, "confirm") == 13 * TRAINING

    second = confirmed(folder, runner, time_budget=f"{15 * TRAINING}s", **options)
    assert second.ending == "complete"
    assert len(runner.calls) == len(set(runner.calls)) == 3 * ARMS
    assert {row["n"] for row in second.verdicts} == {3}


def test_the_time_counts_from_when_it_is_told_to(folder, runner):
    confirmed(folder, runner, time_budget="60s", since=runner.clock.now - 25)
    assert len(runner.calls) == 3
    assert time_spent(folder, "confirm") == 25 + 3 * TRAINING


def test_a_training_that_takes_too_long_is_left_to_do(folder, runner):
    usual, slow = runner.accuracy, []

    def accuracy(placement, seed):
        slow.append(placement)
        return [usual(placement, seed) for _ in range(20 if len(slow) == 7 else 1)][-1]

    runner.accuracy = accuracy
    done = confirmed(folder, runner, time_budget="60s")
    assert (done.ending, done.verdicts) == ("out of time", [])
    assert len(runner.calls) == 4
    assert [row["state"] for row in read_rows(folder / "confirm.csv")] == ["COMPLETE"] * 3


def test_without_time_nothing_is_trained_and_without_two_seeds_there_is_no_verdict(folder, runner):
    confirmed(folder, runner, time_budget="60s")
    assert len(runner.calls) == 6
    again = confirmed(folder, refuse, time_budget="60s")
    assert (again.ending, again.verdicts) == ("out of time", [])
    assert not (folder / "verdict.csv").exists()


def test_a_time_in_another_form_is_refused_and_nothing_is_written(folder):
    before = files_under(folder)
    with pytest.raises(InputError, match=r"^time budget is 'soon'; write a time"):
        confirmed(folder, refuse, time_budget="soon")
    assert files_under(folder) == before
