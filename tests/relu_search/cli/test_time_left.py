"""What the live view says of the time that is left."""

from __future__ import annotations

import io

import pytest
from helpers.clock import Clock
from rich.console import Console

from relu_search import LiveView, RunFolder, SearchConfig
from relu_search.cli import live_view

ROW = {"state": "COMPLETE", "module": "", "placement": "01*3", "epochs": 1, "reason": ""}


def lines(monkeypatch, folder, *, each, count, **budget):
    """The lines of a search whose trials take so many seconds, one for each trial."""
    clock, output = Clock(), io.StringIO()
    monkeypatch.setattr(live_view.time, "monotonic", clock)
    view = LiveView(Console(file=output, width=200))
    view.began(RunFolder(folder), SearchConfig(backbone="plain-8", **budget).resolve())
    for number in range(count):
        view.started({"trial": number, "placement": "01*3"})
        clock.now += each
        view.finished({"trial": number, "val_loss": 1.0, "val_accuracy": 0.5, **ROW})
    view.ended("budget spent")
    return output.getvalue().splitlines()[1:]


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({"time_budget": "100s"}, ["1  time left: 1:30  ", "2  time left: 1:20  "]),
        ({"time_budget": "7300s"}, ["1  time left: 2:01:30  ", "2  time left: 2:01:20  "]),
        (
            {"trials": 4, "time_budget": "100s"},
            ["1/4  time left: 0:30  ", "2/4  time left: 0:20  "],
        ),
        ({"time_budget": "5s"}, ["1  time left: 0:00  ", "2  time left: 0:00  "]),
        ({"trials": 4}, ["1/4  trial 0", "2/4  trial 1"]),
    ],
    ids=str,
)
def test_the_time_left_is_that_of_the_budget_or_of_the_trials_if_it_is_shorter(
    options, starts, monkeypatch, tmp_path
):
    found = lines(monkeypatch, tmp_path, each=10, count=2, **options)
    assert len(found) == 2
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found
