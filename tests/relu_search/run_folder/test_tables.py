"""The tables of a run folder: rows come back as written, damage is refused."""

from __future__ import annotations

import csv

import pytest
from helpers.trial_tables import BLANK, FAILED, rows_like

from relu_search import RunFolder
from search_spaces import InputError


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
