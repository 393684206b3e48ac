"""`relu-search confirm`: bad input is one line and changes nothing; Ctrl-C goes on."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from helpers.command_line import by_arguments, check_refused
from helpers.judging import DEFAULT_ARMS, TRIALS, Runner, make_search, read_rows, write_digits

from relu_search import RunFolder
from relu_search.confirmation.confirm import confirm
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.running.resources import Resources


@pytest.fixture
def run(folder, monkeypatch):
    """A working folder with a search in `run`; no training is ever started."""
    make_search(folder / "run")
    (folder / "run" / ".lock").touch()
    monkeypatch.setattr("relu_search.confirmation.trainings.run_trainings", no_training)
    return folder


def no_training(*_arguments, **_options):
    raise AssertionError("bad input must be found before any training")


@pytest.fixture
def replayed(folder, monkeypatch):
    """The same with made-up trainings in this process; the fixture is their runner."""
    make_search(folder / "run")
    runner = Runner()
    replay = functools.partial(confirm, runner=runner)
    monkeypatch.setattr("relu_search.confirmation.confirm.confirm", replay)
    return runner


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "not a run folder"),
        (["given/full"], "not a run folder"),
        (["run", "--seeds", "1"], "seeds is 1; it must be 2 to 1000, and a verdict needs 6"),
        (["run", "--seeds", "99999999"], "seeds is 99999999"),
        (["run", "--first-seed", "0"], "include 0, the seed of the search"),
        (["run", "--first-seed", "-3"], "first seed is -3"),
        (["run", "--first-seed", "2147483649"], "first seed is 2147483649"),
        (["run", "--top", "-1"], "top is -1"),
        (["run", "--margin", "0"], "margin is"),
        (["run", "--margin", "nan"], "margin is"),
        (["run", "--margin", "100"], "margin is"),
        (["run", "--modules", "4:3/type1"], "4:3/type1"),
        (["run", "--modules", "paired,,2:1"], "placement|module"),
        (["run", "--modules", "01*9"], "01"),
        (["run", "--epochs", "0"], "epochs is 0"),
        (["run", "--cpus-per-trial", "nan"], "at least"),
        (["run", "--colour", "red"], "--colour"),
        ([], "RUN|run"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, run):
    check_refused(cli, run, ["confirm", *arguments], says)


def test_seeds_that_reach_the_searchs_own_are_refused(cli, run):
    make_search(run / "later", seed=4)
    for first in (1, 4):
        arguments = ["confirm", "later", "--seeds", "4", "--first-seed", first]
        check_refused(cli, run, arguments, "include 4, the seed of the search")


def test_a_search_without_finished_trials_is_refused(cli, run):
    make_search(run / "empty", trials=[])
    make_search(run / "pruned", trials=[t for t in TRIALS if t[0] != "COMPLETE"])
    for name in ("empty", "pruned"):
        check_refused(cli, run, ["confirm", name], "no trial of full length yet")


def damage_unknown_key(run):
    config = run / "config.toml"
    config.write_text("colour = 'red'\n" + config.read_text())


def damage_record(run):
    config = run / "config.toml"
    config.write_text(config.read_text().split("[record]")[0])


def damage_config(run):
    (run / "config.toml").write_text("backbone = ")


def damage_trials(run):
    rows = (run / "trials.csv").read_text().splitlines()
    (run / "trials.csv").write_text("\n".join(row.partition(",")[2] for row in rows) + "\n")


def damage_missing_trials(run):
    (run / "trials.csv").unlink()


def damage_missing_column(run):
    (run / "confirm.toml").write_text("epochs = 2\n")
    (run / "confirm.csv").write_text("arm,placement,seed,state\npaired,1*6,1,COMPLETE\n")


def damage_text_for_a_number(run):
    (run / "confirm.toml").write_text("epochs = 2\n")
    header = "arm,origin,placement,ratio,relus,search_trial,seed,state,epochs,test_accuracy,"
    header += "test_loss,val_accuracy,val_loss,train_loss,seconds,reason"
    (run / "confirm.csv").write_text(
        header + "\npaired,module,1*6,1:1,6,0,first,COMPLETE,2,0.5,1,1,1,1,1,\n"
    )


def damage_settings(run):
    (run / "confirm.toml").write_text("epochs = ")


def damage_settings_without_epochs(run):
    (run / "confirm.toml").write_text("rounds = 3\n")


def damage_settings_with_text(run):
    (run / "confirm.toml").write_text("epochs = 'three'\n")


def damage_settings_with_no_epochs(run):
    (run / "confirm.toml").write_text("epochs = 0\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_unknown_key, "unknown key 'colour'"),
        (damage_record, "record"),
        (damage_config, "not valid TOML"),
        (damage_trials, "no column trial"),
        (damage_missing_trials, "trials.csv cannot be read"),
        (damage_missing_column, "no column origin"),
        (damage_text_for_a_number, "confirm.csv cannot be read"),
        (damage_settings, "not valid TOML"),
        (damage_settings_without_epochs, "not a whole number"),
        (damage_settings_with_text, "not a whole number"),
        (damage_settings_with_no_epochs, "epochs is 0"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[7:],
)
def test_a_run_folder_of_another_version_or_damaged_is_refused(damage, says, cli, run):
    damage(run / "run")
    check_refused(cli, run, ["confirm", "run"], says)


def test_a_table_with_a_column_of_a_later_version_is_refused(replayed, folder, cli):
    assert cli("confirm", "run", "--in-process", "--seeds", "2")[0] == 0
    table = folder / "run" / "confirm.csv"
    table.write_text("".join(f"{line},1\n" for line in table.read_text().splitlines()))
    table.write_text(table.read_text().replace("reason,1", "reason,gpu", 1))
    check_refused(cli, folder, ["confirm", "run", "--in-process", "--seeds", "3"], "gpu")


def test_epochs_that_contradict_the_first_call_are_refused(replayed, folder, cli):
    options = ["confirm", "run", "--in-process", "--seeds", "2", "--top", "0"]
    assert cli(*options, "--epochs", "3")[0] == 0
    check_refused(cli, folder, [*options, "--epochs", "2"], "confirmed with 3 epochs")
    check_refused(cli, folder, [*options, "--seeds", "4", "--epochs", "2"], "was confirmed with")


def test_a_missing_test_split_is_found_before_training_and_leaves_nothing(cli, run):
    data = write_digits(run / "data", ["train"])
    make_search(run / "own", data=data)
    (run / "own" / ".lock").touch()
    check_refused(cli, run, ["confirm", "own"], "no test.parquet")


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_a_missing_test_split_is_found_before_training(kind, cli, run):
    parquet = write_digits(run / "data", ["train"])
    name = parquet if kind == "parquet" else folder_of_images(run / "images")
    make_search(run / "own", data=name)
    code, out, err = cli("confirm", "own")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "test" in err
    for left in ("confirm.csv", "verdict.csv", "confirm"):
        assert not (run / "own" / left).exists()


def folder_of_images(path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in "ab":
        (path / "train" / name).mkdir(parents=True)
        for number in range(100):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(path / "train" / name / f"{number}.png")
    return f"folder:{path}"


def test_a_folder_that_another_process_uses_is_refused(cli, run):
    with RunFolder(run / "run").lock():
        check_refused(cli, run, ["confirm", "run"], "another process")


def test_confirm_prints_json_alone(replayed, folder, cli):
    options = ["run", "--seeds", "3", "--in-process", "--no-racing", "--margin", "0.5"]
    code, out, err = cli("confirm", *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["run"], result["ending"]) == ("run", "complete")
    table = read_rows(folder / "run" / "verdict.csv")
    assert len(table) == len(result["verdicts"]) >= len(DEFAULT_ARMS) - 1
    for row, printed in zip(table, result["verdicts"], strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in printed.items()}
        assert printed["margin"] == pytest.approx(0.005)
    assert "15/15" in err
    assert "Traceback" not in err


def test_confirm_prints_tables_for_people(replayed, folder, cli):
    code, out, err = cli("confirm", "run", "--seeds", "2", "--in-process")
    assert code == 0, err
    for text in ("against paired", "trial 5", "70.0% in the search", "inconclusive"):
        assert text in out
    first = out.splitlines()[0]
    assert first.startswith("trial ")
    assert "cannot be told apart yet: " in first
    assert "2 seeds allow no verdict" in err
    assert "confirm.csv" in err
    assert "Traceback" not in out + err


def test_failed_trainings_are_named_and_their_number_is_right(replayed, cli):
    replayed.failing = {("01*3", 2): "ValueError: no such luck"}
    code, _, err = cli("confirm", "run", "--seeds", "2", "--in-process")
    assert code == 0
    assert "1 trainings failed" in err
    assert "no such luck" in err


def test_ctrl_c_ends_with_130_and_goes_on(replayed, cli):
    replayed.stop_after = 2
    arguments = ["confirm", "run", "--seeds", "2", "--top", "0", "--in-process"]
    code, out, err = cli(*arguments)
    assert (code, out) == (130, "")
    assert "interrupted" in err.lower()
    assert "Traceback" not in err
    replayed.stop_after = None
    assert cli(*arguments)[0] == 0
    calls = list(zip(replayed.calls, map(str, replayed.specs), strict=True))
    assert len(calls) == len(set(calls)) == 6


def test_what_is_left_out_is_as_in_the_search(folder, cli, monkeypatch):
    """Machines and epochs; what is typed wins."""
    seen = {}

    def spy(_run, *, compute, **options):
        seen.update(options, compute=compute)
        raise InputError("seen")

    monkeypatch.setattr("relu_search.confirmation.confirm.confirm", spy)
    make_search(folder / "run", concurrent=3, gpus_per_trial=0.5, address="auto")
    assert cli("confirm", "run", "--concurrent", "1", "--margin", "0.5")[0] == 2
    resources = Resources(concurrent=1, gpus_per_trial=0.5)
    assert seen["compute"] == Machines(resources=resources, address="auto")
    assert (seen["epochs"], seen["modules"], seen["racing"]) == (None, None, True)
    assert seen["margin"] == pytest.approx(0.005)
