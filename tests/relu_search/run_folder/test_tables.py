"""The tables of a run folder: rows come back as written, damage is refused."""

from __future__ import annotations

import csv
import os

import pytest
from helpers.trial_tables import BLANK, FAILED, rows_like

from relu_search import RunFolder
from relu_search.run_folder.tables import append_rows, read_table
from search_spaces import InputError
from trials.files.durable import StorageError


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def test_rows_come_back_as_they_were_written(run):
    run.start_tables(rows_like({"val_accuracy": 0.1 + 0.2, "placement": "0101"}, FAILED))
    row = run.read_trials().to_dict("records")
    assert row[0] == {"trial": 0, **BLANK, "val_accuracy": 0.1 + 0.2, "placement": "0101"}
    assert row[1]["reason"] == FAILED["reason"].replace("\n", " ")


def test_a_table_without_rows_has_numbers_in_its_number_columns(run):
    run.start_tables()
    assert run.read_epochs().groupby("epoch")["val_loss"].mean().empty
    assert (run.read_trials()["val_loss"] > 0).sum() == 0


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


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("trial", "9" * 400),
        ("trial", "9" * 5000),
        ("trial", "٣"),
        ("trial", "0.5"),
        ("epochs", ""),
        ("epochs", "1e300"),
        ("relus", "inf"),
        ("val_loss", "inf"),
        ("val_loss", "1e400"),
        ("seconds", "9" * 400),
        ("placement", "2*x"),
        ("placement", "1*999999999"),
    ],
)
def test_impossible_numbers_and_placements_are_refused(column, value, run):
    run.start_tables([{"trial": 0, **BLANK, column: value}])
    with pytest.raises(InputError, match=r"trials\.csv cannot be read"):
        run.read_trials()


def test_control_characters_in_texts_are_escaped_when_written_and_when_read(run):
    run.start_tables([{"trial": 0, **BLANK, "reason": "a\x1b[31m\nb"}])
    assert "\x1b" not in (run.path / "trials.csv").read_text()
    text = (run.path / "trials.csv").read_text().replace("\\x1b", "\x1b")
    (run.path / "trials.csv").write_text(text)
    assert run.read_trials().loc[0, "reason"] == "a\\x1b[31m b"


def test_a_table_that_fits_no_memory_is_not_read(run, monkeypatch):
    monkeypatch.setattr("trials.files.durable.memory_limit", lambda: 10_000)
    run.start_tables([{"trial": 0, **BLANK, "reason": "x" * 1000}])
    with pytest.raises(InputError, match="larger than 500 bytes"):
        run.read_trials()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["trials.csv", "epochs.csv", "supernet.csv"])
def test_a_fifo_is_not_waited_for(name, run):
    os.mkfifo(run.path / name)
    with pytest.raises(InputError, match="not a regular file"):
        read_table(run.path / name)
    with pytest.raises(StorageError, match="not a regular file"):
        append_rows(run.path / name, [])


def test_nothing_is_appended_through_a_link(run, tmp_path):
    elsewhere = tmp_path / "mine.csv"
    elsewhere.write_text("mine\nhalf")
    run.table("trials.csv").symlink_to(elsewhere)
    with pytest.raises(StorageError, match="cannot be written"):
        run.add_trial({"trial": 0, **BLANK})
    assert elsewhere.read_text() == "mine\nhalf"
