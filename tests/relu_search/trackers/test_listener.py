"""What a listener is told of a search, and what its faults do."""

from __future__ import annotations

import pytest
from helpers.replayed_search import OPTIONS, cut_off_in_a_trial, replay_searches

from relu_search import RunFolder, SearchConfig, SearchListener, resume_search, run_search
from search_spaces import InputError
from trials.running.faults import RunStoppedError


class Told(SearchListener):
    """Keeps what it is told, and changes the rows that it is given."""

    def __init__(self):
        self.events = []

    def began(self, run, config):
        self.events.append(("began", run.count_trials(), config.trials))

    def started(self, trial):
        self.events.append(("started", dict(trial)))
        trial.clear()

    def epoch(self, number, metrics):
        self.events.append(("epoch", {"trial": number, **metrics.to_json()}))

    def finished(self, trial):
        self.events.append(("finished", dict(trial)))
        trial.clear()

    def ended(self, ending):
        self.events.append(("ended", ending))

    def rows(self, event):
        return [row for name, row in self.events[1:-1] if name == event]


class Broken(SearchListener):
    def fail(self, *facts):
        raise ZeroDivisionError("two\nlines")

    began = started = epoch = finished = ended = fail


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """A search of 5 trials with two good listeners, and a broken one between them."""
    replay_searches(monkeypatch, failing={1: "no"})
    first, last = Told(), Told()
    config = SearchConfig(**OPTIONS, trials=5, out=str(tmp_path / "run"))
    run_search(config, listeners=[first, Broken(), last])
    return RunFolder(tmp_path / "run"), first, last


def plain(table):
    return [
        {k: v for k, v in row.items() if v == v and v is not None}  # noqa: PLR0124  no NaN
        for row in table
    ]


def test_it_is_told_in_order_what_the_tables_have(heard):
    run, first, last = heard
    names = [name for name, *_ in first.events]
    whole = ["started", "epoch", "epoch", "epoch", "finished"]
    assert names == ["began", *whole, "started", "epoch", "finished", *whole * 3, "ended"]
    assert first.events[0] == ("began", 0, 5)
    assert first.events[-1] == ("ended", "budget spent")
    table = run.read_trials().to_dict("records")
    assert plain(last.rows("finished")) == plain(table)
    for begun, row in zip(last.rows("started"), table, strict=True):
        assert begun.items() <= row.items()
        assert begun.keys() == {
            *("trial", "module", "placement", "ratio", "relus", "relu_elements", "params"),
            *("macs", "seed"),
        }
    assert last.rows("epoch") == run.read_epochs().to_dict("records")
    assert first.events == last.events


def test_an_exception_is_reported_once_and_harms_nobody(capsys, heard):
    lines = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    where = f"test_listener.py:{Broken.fail.__code__.co_firstlineno + 1}"
    assert lines == [
        f"WARNING: the listener Broken failed in began, {where} (ZeroDivisionError: two lines); "
        "the search goes on"
    ]


def test_a_resumed_search_begins_with_its_trials(heard):
    again = Told()
    resume_search(heard[0].path, trials=7, listeners=[again])
    assert again.events[0] == ("began", 5, 7)
    assert [row["trial"] for row in again.rows("finished")] == [5, 6]


def test_an_interrupted_search_and_one_with_a_fault_end_too(tmp_path, monkeypatch):
    replay_searches(monkeypatch)
    where, told = "relu_search.search.run_search.run_search_trials", Told()
    monkeypatch.setattr(where, cut_off_in_a_trial)
    run_search(SearchConfig(**OPTIONS, trials=5, out=str(tmp_path / "run")), listeners=[told])
    assert told.events[-1] == ("ended", "interrupted")

    def fault(*_, **__):
        raise RunStoppedError("the disk is full")

    monkeypatch.setattr(where, fault)
    stopped = Told()
    with pytest.raises(RunStoppedError, match="the disk is full"):
        resume_search(tmp_path / "run", listeners=[stopped])
    assert stopped.events == [("began", 2, 5), ("ended", "stopped")]


@pytest.mark.parametrize(
    ("listeners", "says"),
    [
        (42, "listeners is 42; it must be a list of SearchListener"),
        (SearchListener(), "listeners is .*; it must be a list"),
        ([SearchListener], "listener .* is no SearchListener; give an object of a subclass"),
        (["view"], "listener 'view' is no SearchListener"),
    ],
    ids=["number", "listener", "class", "text"],
)
def test_what_is_no_listener_is_refused_before_anything_is_written(listeners, says, tmp_path):
    config = SearchConfig(**OPTIONS, out=str(tmp_path / "run"))
    with pytest.raises(InputError, match=says):
        run_search(config, listeners=listeners)
    assert list(tmp_path.iterdir()) == []
