"""`relu-search search`."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.command_line import by_arguments, check_refused

from search_spaces import InputError

TINY = ["--backbone", "plain-5", "--width", "2", "--train-limit", "10", "--epochs", "1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backbone", "vgg-16"], "family one of plain"),
        (["--data", "folder:given/none"], "does not exist"),
        (["--data", "cifar10", "--data-dir", "given"], "--download"),
        (["--grace-epochs", "0"], "grace epochs is 0"),
        (["--cpus-per-trial", "0"], "CPUs per trial is 0"),
        (["--config", "given/unknown.toml"], "'colour'"),
        (["--config", "given/none.toml"], "cannot be read"),
        (["--storage", "redis://localhost"], "sqlite, postgresql, mysql"),
        (["--storage", "study.db"], "sqlite:///study.db"),
        (["--storage", "sqlite:////proc/x/study.db"], "cannot be opened"),
        (["--time-budget", "2 hours"], "time budget is '2 hours'; write a time from 1s"),
        (["--try", "given/none.txt"], "try given/none.txt cannot be read"),
        (["--try", "given/file"], "given/file, line 1: .*'mine'"),
        (["--protect"], "protect is for the placements of --try"),
        (["--out", "given/file"], "given/file"),
        (["--out", "given/old-run"], "--resume given/old-run"),
        (["--out", "given/full", "--overwrite"], "holds files"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["search", *TINY, *arguments], says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["given/none"], "not a run folder"),
        (["given/full"], "not a run folder"),
        (["given/old-run", "--epochs", "3"], r"--epochs 3 \(it has 5\) contradicts"),
        (["given/old-run", "--seed", "1", "--out", "x"], r"--seed 1 \(it has 0\), --out x"),
        (["given/old-run", "--overwrite"], "exclude each other"),
        (["given/old-run", "--config", "given/unknown.toml"], "unknown key 'colour'"),
        (["given/old-run", "--trials", "1"], "less than the 2"),
        (["given/old-run", "--time-budget", "1h"], "time-budget 1h is less than no limit, that of"),
    ],
    ids=by_arguments,
)
def test_a_bad_resume_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["search", "--resume", *arguments], says)


def test_search_prints_json_alone_and_is_resumed_in_a_database(cli, folder):
    """References first (paired, 2:1, linear); after them the space holds one more placement."""
    options = [*TINY, "--granularity", "network", "--concurrent", "1", "--out", "run"]
    storage = ["--storage", "sqlite:///study.db"]
    code, out, err = cli("search", *options, *storage, "--trials", "3", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["run"], result["ending"], len(result["trials"])) == ("run", "budget spent", 3)
    assert result["report"] == "run/report.html"
    (folder / "run" / "report.html").unlink()
    assert "Traceback" not in err
    assert not (folder / "run" / "study.journal").exists()
    code, out, err = cli("search", "--resume", "run", "--trials", "9", "--no-report", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["ending"], result["report"]) == ("budget spent", None)
    assert not (folder / "run" / "report.html").exists()
    assert {r["placement"] for r in result["trials"]} == {"000", "010", "101", "111"}
    assert len({(r["placement"], r["seed"]) for r in result["trials"]}) == 9
    assert {r["state"] for r in result["trials"]} == {"COMPLETE"}


def test_resume_does_not_need_the_tables_that_it_writes_anew(searched, cli, folder, monkeypatch):
    def reached(*_arguments, **_options):
        raise InputError("reached")

    monkeypatch.setattr("relu_search.search.run_search.resume_search", reached)
    shutil.copytree(searched.run.path, folder / "run")
    (folder / "run" / "trials.csv").unlink()
    code, _, err = cli("search", "--resume", "run")
    assert (code, err) == (2, "relu-search: reached\n")
