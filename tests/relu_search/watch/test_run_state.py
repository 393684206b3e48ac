"""What a run folder says of a search that runs, has ended, was killed, or goes on."""

from __future__ import annotations

import pytest
from helpers.confirmation_tables import confirm_table
from helpers.watched_runs import BEGUN, BUDGET, ended, epoch, event, make_run

from relu_search.watch.page_parts import Filter, board, log, progress, running, stopped
from relu_search.watch.run_state import RunState
from search_spaces import InputError
from trials.running.time_budget import OUT_OF_TIME

ALL = Filter("")
FIRST = [
    event(0, "search begun"),
    event(1, "trial started", 0, "1*6"),
    event(2, "trial started", 1, "0101*1+01"),
    event(60, "trial ended", 0, "1*6"),
    event(61, "new best", 0, "1*6"),
]


@pytest.fixture
def half(tmp_path):
    """A search of which one trial has ended, and one has trained two of three epochs."""
    trials = [ended(0, module="paired", placement="1*6", relus=6, ratio="1:1")]
    epochs = [*(epoch(0, e) for e in (1, 2, 3)), epoch(1, 1), epoch(1, 2)]
    return make_run(tmp_path, trials, epochs, FIRST)


def facts_of(state, now=BEGUN + 90):
    return dict(progress(state, now).facts)


def test_a_search_whose_folder_is_locked_is_running(half):
    with half.lock():
        state = RunState.read(half)
    assert state.state == "running"
    shown = running(state, ALL, BEGUN + 90)
    assert shown.columns[-1] == "for"
    assert shown.rows == [["1", "2:1", "2:1", "2 of 3", "50.0%", "88 s"]]
    facts = facts_of(state)
    assert facts["trials"] == f"1 of {BUDGET}"
    assert facts["running"] == "1"
    assert facts["best so far"] == "paired (1:1)"
    assert progress(state, BEGUN + 90).share == pytest.approx(1 / BUDGET)


def test_the_time_left_is_that_of_the_trials_so_far(half):
    with half.lock():
        state = RunState.read(half)
    assert state.seconds_left(BEGUN + 90) == pytest.approx(90 / 1 * (BUDGET - 1))
    assert facts_of(state)["time left"] == "12 min"


def test_a_killed_search_is_interrupted_and_names_the_command_that_goes_on(half):
    state = RunState.read(half)
    shown = progress(state, BEGUN + 90)
    assert shown.state == "interrupted"
    assert shown.command == f"relu-search search --resume {half.path}"
    assert "time left" not in dict(shown.facts)
    assert running(state, ALL, BEGUN).rows == [["1", "2:1", "2:1", "2 of 3", "50.0%"]]


def test_only_what_the_last_process_has_started_is_running(half):
    half.add_event("search resumed")
    with half.lock():
        assert RunState.read(half).open_trials == []
        half.add_event("trial started", 1, "01*3")
        (one,) = RunState.read(half).open_trials
    assert one.trial == 1
    assert one.since > BEGUN + 100
    assert RunState.read(half).seconds_left(BEGUN) is None  # it has ended no trial yet


def test_a_spent_budget_is_the_end_and_a_process_after_it_is_another_command(tmp_path):
    run = make_run(tmp_path, [ended(i) for i in range(BUDGET)])
    assert progress(RunState.read(run), BEGUN).notes == []
    with run.lock():
        shown = progress(RunState.read(run), BEGUN)
    assert (shown.state, shown.share) == ("ended", 1)
    assert "A process is at work in the folder" in shown.notes[0]


def test_a_confirmation_that_runs_tells_how_far_it_is(tmp_path):
    run = make_run(tmp_path, [ended(i) for i in range(BUDGET)])
    confirm_table().to_csv(run.table("confirm.csv"), index=False)
    notes = progress(RunState.read(run), BEGUN).notes
    assert notes == [f"Trainings of a confirmation that have ended: {len(confirm_table())}."]


def test_a_time_budget_is_a_share_and_a_limit_of_the_time_left(tmp_path):
    run = make_run(tmp_path, [ended(0)], trials=None, time_budget="100s")
    (tmp_path / "time.toml").write_text("search = 75.0\n")
    with run.lock():
        state = RunState.read(run)
    assert progress(state, BEGUN).share == 0.75
    assert state.seconds_left(BEGUN) == 25


def test_a_run_of_an_earlier_version_has_no_events(half):
    half.table("events.csv").unlink()
    with half.lock():
        state = RunState.read(half)
    assert [(one.trial, one.name) for one in state.open_trials] == [(1, "not recorded")]
    assert "earlier version" in log(state, ALL).empty
    assert state.seconds_left(BEGUN) == pytest.approx(0.1 * (BUDGET - 1))


def test_a_search_that_has_only_begun_has_empty_parts(tmp_path):
    run = make_run(tmp_path)
    for name in ("trials.csv", "epochs.csv"):
        run.table(name).unlink()
    state = RunState.read(run)
    assert state.state == "interrupted"
    assert board(state, ALL).empty == "No trial has ended yet."
    assert running(state, ALL, BEGUN).rows == []


def test_a_line_that_is_half_written_does_not_count(half):
    with half.table("events.csv").open("a") as file:
        file.write("1700000100.0,trial star")
    assert len(RunState.read(half).events) == len(FIRST)


def test_each_stopped_trial_says_why(tmp_path):
    trials = [
        ended(0),
        ended(1, state="PRUNED", epochs=1),
        ended(2, state="PRUNED", epochs=2, reason=OUT_OF_TIME),
        ended(3, state="FAIL", epochs=0, val_loss=None, reason="ValueError: no luck"),
    ]
    rows = stopped(RunState.read(make_run(tmp_path, trials)), ALL).rows
    assert [(row[0], row[3], row[-1]) for row in rows] == [
        ("3", "failed", "ValueError: no luck"),
        ("2", "stopped early", "the time budget"),
        ("1", "stopped early", "early stopping by the sum of the train losses"),
    ]


def test_the_log_tells_each_event_in_a_sentence_the_latest_first(half):
    rows = log(RunState.read(half), ALL).rows
    assert [cells[1:] for cells in rows] == [
        ["0", "paired (1:1): new best"],
        ["0", "paired (1:1): full length, validation loss 1.000"],
        ["1", "2:1 (2:1): started"],
        ["0", "paired (1:1): started"],
        ["", "search begun"],
    ]


def test_the_leaderboard_has_one_row_for_each_placement(tmp_path):
    trials = [ended(0), ended(1), ended(2, placement="000001", val_loss=3.0)]
    rows = board(RunState.read(make_run(tmp_path, trials)), ALL).rows
    assert [row[1] for row in rows] == ["000010", "000001"]
    assert [row[4] for row in rows] == ["1", "2"]  # seeds


@pytest.mark.parametrize(
    ("text", "found"),
    [("", 5), ("PAIRED", 1), ("stopped", 1), ("2:1 full", 3), ("full length 000011", 1), ("x", 0)],
)
def test_a_filter_shows_the_rows_that_have_all_its_words(text, found, tmp_path):
    trials = [
        ended(0),
        ended(1),
        ended(2),
        ended(3, module="paired", placement="1*6", ratio="1:1"),
        ended(4, state="PRUNED", ratio="3:1"),
    ]
    shown = board(RunState.read(make_run(tmp_path, trials)), Filter(text))
    assert len(shown.rows) == found
    if not found:
        assert shown.empty == "No row has all words of the filter."


def test_the_filter_finds_rows_that_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("relu_search.watch.page_parts.MOST_ROWS", 2)
    state = RunState.read(make_run(tmp_path, [ended(i) for i in range(7)]))
    assert (len(board(state, ALL).rows), board(state, ALL).more) == (2, 5)
    assert [row[:2] for row in board(state, Filter("000001")).rows] == [["7", "000001"]]


@pytest.mark.parametrize(
    "row",
    [
        {"time": None, "event": "search begun"},
        {"time": -1, "event": "search begun"},
        {"time": 1e30, "event": "search begun"},
        event(0, "trial started", 0, "no placement"),
        event(0, "trial started", 0, "01*9"),
    ],
    ids=["no time", "before 1970", "far away", "no placement", "of another network"],
)
def test_impossible_events_are_damage(row, tmp_path):
    run = make_run(tmp_path, events=[row])
    with pytest.raises(InputError):
        RunState.read(run)


def test_reading_changes_nothing_and_takes_no_lock(half, monkeypatch):
    def refuse(*_):
        raise AssertionError("a lock was taken")

    (half.path / ".lock").touch()
    before = written(half)
    monkeypatch.setattr("trials.files.locks.fcntl.flock", refuse)
    progress(RunState.read(half), BEGUN)
    assert written(half) == before


def written(run):
    """Each file with its size and when it was written."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in run.path.iterdir()}
