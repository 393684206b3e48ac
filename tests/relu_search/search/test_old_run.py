"""An interrupted run of an earlier version is resumed, reported and confirmed.

`tests/fixtures/old_run` was made before the modules moved into rooms: a search of 8 trials, stopped
while trial 5 was training, and a confirmation with 2 seeds. No value is compared with what another
version of torch would compute: only what the folder had already must stay.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from relu_search.cli.app import main
from relu_search.run_folder.folder import RunFolder

OLD = Path(__file__).parents[2] / "fixtures" / "old_run"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def old_rows(name):
    """Rows of the old run as they are written now: all its trainings are from scratch."""
    added = {"start": "from scratch"}
    if name == "trials.csv":
        added |= dict.fromkeys(("latency_ms", "latency_q25_ms", "latency_q75_ms"), "")
    return [{**row, **added} for row in rows(OLD / name)]


def call(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the old run, resumed to its end."""
    copy = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(OLD, copy)
    assert call("search", "--resume", copy) in (0, None)
    return copy


def test_the_old_run_is_an_interrupted_one():
    assert [row["trial"] for row in rows(OLD / "trials.csv")] == ["0", "1", "2", "3", "4"]
    assert [row["epoch"] for row in rows(OLD / "epochs.csv") if row["trial"] == "5"] == ["1", "2"]
    assert len(list((OLD / "checkpoints").iterdir())) == 1


def test_the_search_is_finished_and_finished_trials_stay_as_they_were(run):
    trials = rows(run / "trials.csv")
    assert [int(row["trial"]) for row in trials] == list(range(8))
    assert trials[:5] == old_rows("trials.csv")
    old = [row for row in rows(OLD / "epochs.csv") if int(row["trial"]) < 5]
    assert rows(run / "epochs.csv")[: len(old)] == old
    assert len(rows(run / "epochs.csv")) == sum(int(row["epochs"]) for row in trials)
    card = json.loads((run / "best" / "card.json").read_text())
    assert card["placement"] in {row["placement"] for row in trials if row["state"] == "COMPLETE"}


def test_the_trial_that_was_training_continues_from_its_checkpoint(run):
    (checkpoint,) = (OLD / "checkpoints").iterdir()
    with safe_open(checkpoint, "pt") as file:
        stored = json.loads(file.metadata()["epochs"])
    new = [row for row in rows(run / "epochs.csv") if row["trial"] == "5"]
    assert len(stored) >= 2
    for row, metrics in zip(new, stored, strict=False):
        assert {name: float(row[name]) for name in metrics} == metrics  # seconds too
    assert list((run / "checkpoints").iterdir()) == []


def test_the_old_run_is_known_to_have_stopped_trials_by_its_metric(run):
    config, _ = RunFolder.open(run).read_config()
    assert config.stop_on == "val-loss"


def test_the_report_is_written(run):
    assert call("report", run) in (0, None)
    page = (run / "report.html").read_text()
    assert all(row["ratio"] in page for row in rows(run / "trials.csv"))


def test_the_report_judges_the_old_confirmation_by_the_present_rule(run, capsys):
    assert call("report", run, "--no-page", "--json") in (0, None)
    told = json.loads(capsys.readouterr().out)
    assert told["verdict_answer"][-1].startswith("An earlier version judged this run")
    assert len(told["verdicts"]) == 3  # once each: the old file has paired and 2:1 twice
    assert len(rows(OLD / "verdict.csv")) == 4
    for row in told["verdicts"]:
        (old,) = (
            before
            for before in rows(OLD / "verdict.csv")
            if (before["arm"], before["versus"]) == (row["arm"], row["versus"])
        )
        assert row["difference"] == pytest.approx(float(old["difference"]))
    assert "An earlier version judged this run" in (run / "report.html").read_text()


def test_a_third_seed_is_added_to_the_confirmation(run, capsys):
    options = ("--top", "1", "--seeds", "3", "--in-process")
    assert call("confirm", run, *options) in (0, None)
    assert "An earlier version judged this run" in capsys.readouterr().err
    assert (run / "looks.csv").is_file()
    table, old = rows(run / "confirm.csv"), old_rows("confirm.csv")
    assert all(row in table for row in old)
    added = [row for row in table if row not in old]
    assert {(row["arm"], row["seed"]) for row in added} >= {
        (arm, "3") for arm in ("paired", "2:1", "linear")
    }
    assert {int(row["seed"]) for row in table} == {1, 2, 3}
    assert {row["n"] for row in rows(run / "verdict.csv")} == {"3"}
