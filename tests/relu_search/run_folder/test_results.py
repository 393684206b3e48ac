"""The run folder as files, and the leaderboard that is read from them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from relu_search.analysis.answer import report_text
from relu_search.analysis.leaderboard import (
    best_trial,
    caveat,
    leaderboard_table,
    ranked,
)
from search_spaces import InputError

BLANK = {
    "state": "COMPLETE",
    "module": "",
    "placement": "01*3",
    "ratio": "2:1",
    "relus": 3,
    "relu_elements": 100,
    "params": 1000,
    "macs": 5000,
    "seed": 0,
    "epochs": 3,
    "val_accuracy": 0.5,
    "val_loss": 1.0,
    "train_loss": 1.0,
    "seconds": 0.1,
    "back_end": "eager",
    "reason": "",
}
LINEAR = {"module": "linear", "placement": "0*6", "ratio": "1:0", "relus": 0}
FAILED = {
    "state": "FAIL",
    "epochs": 0,
    "val_accuracy": None,
    "val_loss": None,
    "train_loss": None,
    "reason": 'ValueError: "no", such\nluck',
}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


@pytest.fixture
def table(run):
    """Rows, given by what is special about them, as they come back from trials.csv."""

    def of(*rows):
        numbered = [{"trial": i, **BLANK, "placement": f"{i:06b}"} for i in range(len(rows))]
        run.start_tables([blank | row for blank, row in zip(numbered, rows, strict=True)])
        return run.read_trials()

    return of


# --- the folder -------------------------------------------------------------------------------


def test_a_new_folder_may_be_missing_or_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b/new"):
        assert RunFolder.check_free(str(tmp_path / name)) == tmp_path / name
        assert not (tmp_path / "a").exists()
    for name in ("empty", "a/b/new"):
        with RunFolder.create(str(tmp_path / name)) as run:
            assert run.path.is_dir()


def test_without_a_name_the_folder_is_a_new_one_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(None) as first:
        first.write_config(SearchConfig().resolve(), {})
    with RunFolder.create(None) as second:
        pass
    assert first.path != second.path
    assert first.path.parent == second.path.parent == Path("runs")


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_are_never_replaced(overwrite, tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    with (
        pytest.raises(InputError, match="no search's"),
        RunFolder.create(str(tmp_path), overwrite=overwrite),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_run_is_replaced_only_when_asked(tmp_path):
    RunFolder(tmp_path).write_config(SearchConfig().resolve(), {})
    with pytest.raises(InputError, match=r"--resume.*--overwrite"), RunFolder.create(str(tmp_path)):
        pass
    assert RunFolder.check_free(str(tmp_path), overwrite=True) == tmp_path
    assert (tmp_path / "config.toml").is_file()
    with RunFolder.create(str(tmp_path), overwrite=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_replacing_a_run_leaves_what_the_user_put_beside_it(tmp_path):
    RunFolder(tmp_path).write_config(SearchConfig().resolve(), {})
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder.create(str(tmp_path), overwrite=True):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "notes.txt"]


def test_a_users_own_config_file_makes_no_run(tmp_path):
    (tmp_path / "config.toml").write_text("trials = 3\n")
    with (
        pytest.raises(InputError, match="no search's"),
        RunFolder.create(str(tmp_path), overwrite=True),
    ):
        pass


def test_a_run_folder_has_one_owner_at_a_time(tmp_path):
    run = RunFolder(tmp_path)
    with run.lock(), pytest.raises(InputError, match="another process"), run.lock():
        pass
    with run.lock():
        pass


@pytest.mark.parametrize("name", ["file", "file/below"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(name, overwrite, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        RunFolder.check_free(str(tmp_path / name), overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write")
def test_a_folder_that_cannot_be_written_is_refused():
    with (
        pytest.raises(InputError, match="cannot be written"),
        RunFolder.create("/proc/relu-search/run"),
    ):
        pass


def test_open_wants_a_run_folder(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)


# --- tables -----------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(table):
    row = table({"val_accuracy": 0.1 + 0.2, "placement": "0101"}, FAILED).to_dict("records")
    assert row[0] == {"trial": 0, **BLANK, "val_accuracy": 0.1 + 0.2, "placement": "0101"}
    assert row[1]["reason"] == FAILED["reason"].replace("\n", " ")


def test_rows_are_appended_to_what_is_there(run):
    run.start_tables()
    run.add_trial({"trial": 0, **BLANK})
    run.add_epoch({"trial": 0, "epoch": 1, "val_loss": 0.5})
    assert list(run.read_trials()["trial"]) == [0]
    assert run.read_epochs().loc[0, "val_loss"] == 0.5
    with (run.path / "trials.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 2


@pytest.mark.parametrize(
    "content",
    [None, "", "trial,state\n0,COMPLETE\n", "\x00\x01\x02", '"trial\n'],
    ids=["missing", "empty", "columns gone", "binary", "quote open"],
)
def test_a_damaged_table_is_refused(content, run):
    if content is not None:
        (run.path / "trials.csv").write_text(content)
    with pytest.raises(InputError, match=r"trials\.csv"):
        run.read_trials()


def test_a_table_with_text_for_numbers_is_refused(run):
    run.start_tables([{"trial": 0, **BLANK, "val_accuracy": "high"}])
    with pytest.raises(InputError, match=r"trials\.csv"):
        run.read_trials()


# --- the leaderboard --------------------------------------------------------------------------


def test_full_length_ranks_before_stopped_before_failed_and_further_before_earlier(table):
    trials = table(
        FAILED,
        {"state": "PRUNED", "epochs": 1, "val_accuracy": 0.99},
        {"state": "PRUNED", "epochs": 2, "val_accuracy": 0.10},
        {"val_accuracy": 0.6},
        {"val_accuracy": 0.7},
        {"val_accuracy": 0.7},
    )
    assert list(ranked(trials, "val_accuracy")["trial"]) == [4, 5, 3, 2, 1, 0]


@pytest.mark.parametrize(("metric", "first"), [("val_accuracy", 0), ("val_loss", 1)])
def test_the_metric_decides_the_rank(metric, first, table):
    trials = table({"val_accuracy": 0.9, "val_loss": 2.0}, {"val_accuracy": 0.8, "val_loss": 0.5})
    assert ranked(trials, metric)["trial"].iloc[0] == first
    assert best_trial(trials, SearchConfig(metric=metric).resolve())["trial"] == first


def test_the_control_and_stopped_trials_are_never_best(table):
    trials = table(
        {**LINEAR, "val_accuracy": 0.99},
        {"state": "PRUNED", "epochs": 2, "val_accuracy": 0.98},
        {"val_accuracy": 0.3},
    )
    assert best_trial(trials, SearchConfig().resolve())["trial"] == 2
    assert best_trial(trials[:2], SearchConfig().resolve()) is None


@pytest.mark.parametrize(
    ("metric", "control", "leads"),
    [
        ("val_accuracy", {"val_accuracy": 0.8}, True),
        ("val_accuracy", {"val_accuracy": 0.5}, False),
        ("val_accuracy", {"val_accuracy": 0.2}, False),
        ("val_loss", {"val_loss": 0.9}, True),
        ("val_loss", {"val_loss": 1.1}, False),
        ("val_accuracy", {"val_accuracy": 0.8, "state": "FAIL"}, False),
    ],
)
def test_the_caveat_says_when_the_control_leads(metric, control, leads, table):
    line = caveat(table({**LINEAR, **control}, {}), SearchConfig(metric=metric).resolve(), 100)
    assert ("control leads" in line) == leads
    assert "\n" not in line


def test_best_keeps_to_the_relu_limits_of_the_search(table):
    trials = table({"relus": 5, "val_accuracy": 0.9}, {"relus": 2, "val_accuracy": 0.6}, LINEAR)
    assert best_trial(trials, SearchConfig(max_relus=4, granularity="site").resolve())["relus"] == 2
    assert best_trial(trials, SearchConfig(min_relus=0, max_relus=0).resolve())["relus"] == 0


def test_equal_accuracy_is_decided_by_loss(table):
    trials = table({"val_loss": 0.9}, {"val_loss": 0.7}, {"val_loss": 0.8})
    assert best_trial(trials, SearchConfig().resolve())["val_loss"] == 0.7


def test_the_caveat_states_the_binomial_noise(table):
    line = caveat(table({"val_accuracy": 0.8}), SearchConfig().resolve(), 1600)
    assert "1,600" in line
    assert "±1.0 points" in line  # sqrt(0.8 * 0.2 / 1600)


def test_hand_designed_modules_are_shown_even_when_they_rank_last(table):
    found = [{"val_accuracy": 0.5 + i / 100} for i in range(15)]
    trials = table(*found, {"module": "paired", "val_accuracy": 0.1}, LINEAR, FAILED)
    shown = leaderboard_table(trials, "val_accuracy")
    names = list(shown.columns[1].cells)
    assert "paired" in names
    assert "linear (control)" in names
    assert len(names) == 10 + 2


def test_a_run_without_a_finished_trial_has_no_report(run):
    run.write_config(SearchConfig().resolve(), RUN_RECORD)
    run.start_tables()
    with pytest.raises(InputError, match="no finished trial"):
        report_text(run)
