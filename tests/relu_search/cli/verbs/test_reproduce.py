"""`relu-search reproduce`: bad input is one line and changes nothing; Ctrl-C goes on."""

from __future__ import annotations

import functools
import json

import pytest
from helpers.command_line import by_arguments, check_refused
from helpers.judging import Runner, write_digits

from relu_search.reproduce.run_experiment import reproduce

SMALL = ["--data", "digits", "--depths", "5,8", "--width", "2", "--epochs", "1", "--seeds", "2"]


@pytest.fixture
def untrained(folder, monkeypatch):
    """The working folder; no training is ever started."""
    monkeypatch.setattr("relu_search.reproduce.run_experiment.run_trainings", no_training)
    return folder


def no_training(*_arguments, **_options):
    raise AssertionError("bad input must be found before any training")


@pytest.fixture
def replayed(folder, monkeypatch):
    """Made-up trainings in this process; the fixture is their runner."""
    runner = Runner()
    replay = functools.partial(reproduce, runner=runner)
    monkeypatch.setattr("relu_search.reproduce.run_experiment.reproduce", replay)
    return runner


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table4"], "'table4' is unknown; use one of table1, table2, table3"),
        (["table1", "--depths", "38,x"], "38,x"),
        (["table1", "--depths", "38,"], "depths"),
        (["table1", "--depths", "-1"], "-1"),
        (["table1", "--depths", "99999999"], "99999999"),
        (["table2", "--depths", "62,63"], "63"),
        (["table3", "--depths", "39"], "39"),
        (["table1", "--seeds", "1"], "seeds is 1"),
        (["table1", "--seeds", "99999999"], "seeds is 99999999"),
        (["table1", "--first-seed", "-1"], "first seed is -1"),
        (["table1", "--first-seed", "2147483649"], "first seed is 2147483649"),
        (["table1", "--epochs", "0"], "epochs is 0"),
        (["table1", "--width", "0"], "width 0"),
        (["table1", "--precision", "fp8"], "fp32"),
        (["table1", "--data", "mnist"], "'mnist' is unknown"),
        (["table1", "--data-dir", "given"], "--download"),
        (["table1", "--data", "digits", "--train-limit", "0"], "train limit is 0"),
        (["table1", *SMALL, "--concurrent", "0"], "concurrent is 0"),
        (["table1", *SMALL, "--out", "given/file/under"], "file"),
        (["table1", *SMALL, "--out", "given/old-run"], "has other content"),
        (["table1", *SMALL, "--out", "/proc/new"], "cannot be written"),
        (["table1", "--colour"], "--colour"),
        ([], "study|STUDY"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, untrained):
    check_refused(cli, untrained, ["reproduce", *arguments], says)


def test_a_missing_test_split_is_found_before_training(cli, untrained):
    data = write_digits(untrained / "data", ["train"])
    small = ["--depths", "5", "--epochs", "1", "--seeds", "2", "--out", "new"]
    check_refused(cli, untrained, ["reproduce", "table1", "--data", data, *small], "test")


def test_ctrl_c_ends_with_130_and_goes_on(replayed, cli):
    replayed.stop_after = 2
    arguments = ["reproduce", "table1", *SMALL, "--in-process", "--out", "new"]
    code, out, err = cli(*arguments)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    replayed.stop_after = None
    assert cli(*arguments)[0] == 0
    calls = list(zip(replayed.calls, map(str, replayed.specs), strict=True))
    assert len(calls) == len(set(calls)) == 8


def test_a_folder_with_other_settings_is_refused(replayed, folder, cli):
    options = ["reproduce", "table1", *SMALL, "--in-process", "--out", "new"]
    assert cli(*options)[0] == 0
    for change, says in (
        (["--epochs", "2"], "epochs 1"),
        (["--width", "4"], "width 2"),
        (["--train-limit", "50"], "train_limit"),
    ):
        check_refused(cli, folder, [*options, *change], says)
    check_refused(
        cli, folder, ["reproduce", "figure6", *SMALL, "--depths", "8", "--out", "new"], "study"
    )


def test_a_damaged_reproduction_is_refused(replayed, folder, cli):
    options = ["reproduce", "table1", *SMALL, "--in-process", "--out", "new"]
    assert cli(*options)[0] == 0
    good = (folder / "new" / "runs.csv").read_text()
    (folder / "new" / "runs.csv").write_text(good.replace("test_accuracy", "accuracy"))
    check_refused(cli, folder, options, "no column test_accuracy")
    (folder / "new" / "runs.csv").unlink()
    check_refused(cli, folder, options, "runs.csv cannot be read")
    (folder / "new" / "reproduce.toml").write_text("study = ")
    check_refused(cli, folder, options, "not valid TOML")


def test_reproduce_prints_json_alone(replayed, folder, cli):
    code, out, err = cli("reproduce", "table1", *SMALL, "--in-process", "--out", "new", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["out"], result["complete"]) == ("new", True)
    assert [(r["backbone"], r["module"], r["ours"]["n"]) for r in result["rows"]] == [
        (f"plain-{depth}", module, 2) for depth in (5, 8) for module in ("paired", "2:1")
    ]
    assert result["influences"] == []
    assert any("not the paper's" in note for note in result["notes"])
    assert "8/8" in err


def test_reproduce_prints_a_table_for_people(replayed, folder, cli):
    code, out, err = cli("reproduce", "table1", *SMALL, "--in-process", "--out", "new")
    assert code == 0, err
    for text in ("Table I", "plain-5, digits", "2:1", "10 classes", "early trainability"):
        assert text in out
    assert "new" in err
    names = {path.name for path in (folder / "new").iterdir()}
    assert names >= {"runs.csv", "curves.csv", "comparison.csv", "curves.png", "curves.pdf"}
