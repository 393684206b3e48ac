"""What the live view says of the time that is left."""

from __future__ import annotations

import io

import pytest
from helpers.clock import Clock
from helpers.replay import drive, new_proposer
from rich.console import Console

from relu_search.cli import live_view
from relu_search.cli.live_view import LiveView


def lines(monkeypatch, *, each, count, **options):
    """The lines of a search whose trials take so many seconds, one for each trial."""
    clock, output = Clock(), io.StringIO()
    monkeypatch.setattr(live_view.time, "monotonic", clock)
    view = LiveView(
        Console(file=output, width=200),
        headline="begins",
        epochs=3,
        metric="val_accuracy",
        **options,
    )

    class Passing:
        def started(self, proposal):
            clock.now += each

        def epoch(self, number, metrics): ...
        def finished(self, trial): ...

    drive(new_proposer(trials=count, listeners=(Passing(), view)))
    return output.getvalue().splitlines()[1:]


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({"trials": None, "seconds": 100}, ["1  time left: 1:30  ", "2  time left: 1:20  "]),
        ({"trials": None, "seconds": 7300}, ["1  time left: 2:01:30  ", "2  time left: 2:01:20  "]),
        ({"trials": 3, "seconds": 100}, ["1/3  time left: 0:20  ", "2/3  time left: 0:10  "]),
        ({"trials": None, "seconds": 5}, ["1  time left: 0:00  ", "2  time left: 0:00  "]),
        ({"trials": 3}, ["1/3  trial 0", "2/3  trial 1"]),
    ],
    ids=str,
)
def test_the_time_left_is_that_of_the_budget_or_of_the_trials_if_it_is_shorter(
    options, starts, monkeypatch
):
    found = lines(monkeypatch, each=10, count=2, **options)
    assert len(found) == 2
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found
