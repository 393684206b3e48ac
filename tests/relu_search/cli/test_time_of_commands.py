"""The time budget of a command counts from its start, and leaves time for the end of its output."""

from __future__ import annotations

import pytest
from helpers.judging import make_search

from relu_search import RunFolder
from relu_search.cli import supervisor
from relu_search.discovery.division import Division
from search_spaces import InputError

SUMMARY, REPORT = 1.0, 4.0  # seconds


@pytest.mark.parametrize(
    ("arguments", "called", "reserve"),
    [
        (["search"], "search.run_search.run_search", SUMMARY + REPORT),
        (["search", "--no-report"], "search.run_search.run_search", SUMMARY),
        (["search", "--resume", "run"], "search.run_search.resume_search", SUMMARY + REPORT),
        (["search", "--resume", "run", "--no-report"], "search.run_search.resume_search", SUMMARY),
        (["confirm", "run"], "confirmation.confirm.confirm", None),
        (["reproduce", "table1"], "reproduce.run_experiment.reproduce", None),
        (["discover"], "discovery.discover.discover", None),
        (["discover", "--resume", "run"], "discovery.discover.resume_discovery", None),
    ],
)
def test_every_command_with_a_time_budget_tells_when_it_began(
    arguments, called, reserve, cli, folder, monkeypatch
):
    make_search(folder / "run")
    Division(trials=60, time_budget=None, top=3, arms=6).write(RunFolder(folder / "run"))
    told = []

    def stand_in(*_arguments, **options):
        told.append((options["since"], options.get("reserve")))
        raise InputError("enough")

    monkeypatch.setattr(f"relu_search.{called}", stand_in)
    monkeypatch.setattr(supervisor, "_began", 12.5)
    assert cli(*arguments)[0] == 2
    assert told == [(12.5, reserve)]
