"""confirm and reproduce on the command line: bad input is one line, and nothing is written."""

from __future__ import annotations

import functools
import json
import re

import pytest
from helpers.judging import (
    DEFAULT_ARMS,
    TRIALS,
    Runner,
    files_under,
    make_search,
    read_rows,
    write_digits,
)

from relu_search import RunFolder
from relu_search.confirmation.confirm import confirm
from relu_search.reproduce.run_experiment import reproduce

SMALL = ["--data", "digits", "--depths", "5,8", "--width", "2", "--epochs", "1", "--seeds", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a search in `run`; no training is ever started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELU_SEARCH_DATA", raising=False)
    make_search(tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for module in ("confirmation.confirm", "reproduce.run_experiment"):
        monkeypatch.setattr(f"relu_search.{module}.run_trainings", no_training)
    return tmp_path


@pytest.fixture
def replayed(folder, monkeypatch):
    """Both verbs with made-up trainings in this process."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    runner = Runner()
    monkeypatch.setattr(
        "relu_search.confirmation.confirm.confirm", functools.partial(confirm, runner=runner)
    )
    monkeypatch.setattr(
        "relu_search.reproduce.run_experiment.reproduce",
        functools.partial(reproduce, runner=runner),
    )
    return folder


def no_training(*_arguments, **_options):
    raise AssertionError("bad input must be found before any training")


def check_refused(cli, folder, arguments, says):
    before = files_under(folder)
    code, out, err = cli(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("relu-search: ")
    assert re.search(says, err), err
    assert "Traceback" not in err
    assert files_under(folder) == before


def by_name(value):
    return " ".join(map(str, value)) if isinstance(value, list) else ""


# --- confirm ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "not a run folder"),
        (["full"], "not a run folder"),
        (["file"], "not a run folder"),
        (["run", "--seeds", "1"], "seeds is 1; a comparison needs 2"),
        (["run", "--seeds", "0"], "seeds is 0"),
        (["run", "--seeds", "-6"], "seeds is -6"),
        (["run", "--seeds", "99999999"], "seeds is 99999999"),
        (["run", "--seeds", "many"], "--seeds"),
        (["run", "--first-seed", "0"], "include 0, the seed of the search"),
        (["run", "--first-seed", "-3"], "first seed is -3"),
        (["run", "--first-seed", "2147483647"], "first seed is 2147483647"),
        (["run", "--top", "-1"], "top is -1"),
        (["run", "--margin", "-0.3"], "margin is"),
        (["run", "--margin", "0"], "margin is"),
        (["run", "--margin", "nan"], "margin is"),
        (["run", "--margin", "inf"], "margin is"),
        (["run", "--margin", "100"], "margin is"),
        (["run", "--modules", "4:3/type1"], "4:3/type1"),
        (["run", "--modules", "paired,,2:1"], "placement|module"),
        (["run", "--modules", ""], "placement|module"),
        (["run", "--modules", "01*9"], "01"),
        (["run", "--epochs", "0"], "epochs is 0"),
        (["run", "--epochs", "-2"], "epochs is -2"),
        (["run", "--colour", "red"], "--colour"),
        ([], "RUN|run"),
    ],
    ids=by_name,
)
def test_bad_input_of_confirm_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["confirm", *arguments], says)


def test_seeds_that_reach_the_searchs_own_are_refused(cli, tmp_path, folder):
    make_search(tmp_path / "later", seed=4)
    for first in (1, 4):
        arguments = ["confirm", tmp_path / "later", "--seeds", "4", "--first-seed", first]
        check_refused(cli, folder, arguments, "include 4, the seed of the search")


def test_a_search_without_finished_trials_is_refused(cli, folder):
    make_search(folder / "empty", trials=[])
    make_search(folder / "pruned", trials=[t for t in TRIALS if t[0] != "COMPLETE"])
    for name in ("empty", "pruned"):
        check_refused(cli, folder, ["confirm", name], "no trial of full length yet")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--concurrent", "-1"),
        ("--cpus-per-trial", "-1"),
        ("--cpus-per-trial", "nan"),
        ("--gpus-per-trial", "-1"),
    ],
)
@pytest.mark.parametrize("verb", ["confirm", "reproduce"])
def test_impossible_workers_are_refused(verb, option, value, cli, folder):
    arguments = {"confirm": ["confirm", "run"], "reproduce": ["reproduce", "table1", *SMALL]}[verb]
    check_refused(cli, folder, [*arguments, option, value], "at least")


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
        (damage_settings_without_epochs, "no whole number of epochs"),
        (damage_settings_with_text, "no whole number of epochs"),
        (damage_settings_with_no_epochs, "epochs is 0"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[7:],
)
def test_a_run_folder_of_another_version_or_damaged_is_refused(damage, says, cli, folder):
    damage(folder / "run")
    check_refused(cli, folder, ["confirm", "run"], says)


def test_a_table_with_a_column_of_a_later_version_is_refused(replayed, cli):
    assert cli("confirm", "run", "--in-process", "--seeds", "2")[0] == 0
    table = replayed / "run" / "confirm.csv"
    table.write_text("".join(f"{line},1\n" for line in table.read_text().splitlines()))
    table.write_text(table.read_text().replace("reason,1", "reason,gpu", 1))
    check_refused(cli, replayed, ["confirm", "run", "--in-process", "--seeds", "3"], "gpu")


def test_epochs_that_contradict_the_first_call_are_refused(replayed, cli):
    options = ["confirm", "run", "--in-process", "--seeds", "2", "--top", "0"]
    assert cli(*options, "--epochs", "3")[0] == 0
    check_refused(cli, replayed, [*options, "--epochs", "2"], "confirmed with 3 epochs")
    check_refused(cli, replayed, [*options, "--seeds", "4", "--epochs", "2"], "was confirmed with")


def test_a_missing_test_split_is_found_before_training_and_leaves_nothing(cli, folder):
    data = write_digits(folder / "data", ["train"])
    make_search(folder / "own", data=data)
    (folder / "own" / ".lock").touch()
    check_refused(cli, folder, ["confirm", "own"], "no test.parquet")


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_a_missing_test_split_is_found_before_training(kind, cli, folder):
    parquet = write_digits(folder / "data", ["train"])
    name = parquet if kind == "parquet" else folder_of_images(folder / "images")
    make_search(folder / "own", data=name)
    code, out, err = cli("confirm", "own")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "test" in err
    for left in ("confirm.csv", "verdict.csv", "confirm"):
        assert not (folder / "own" / left).exists()
    small = ["--depths", "5", "--epochs", "1", "--seeds", "2", "--out", "new"]
    check_refused(cli, folder, ["reproduce", "table1", "--data", name, *small], "test")


def folder_of_images(path):
    from PIL import Image

    for name in "ab":
        (path / "train" / name).mkdir(parents=True)
        for number in range(100):
            Image.new("L", (8, 8), number).save(path / "train" / name / f"{number}.png")
    return f"folder:{path}"


def test_a_folder_that_another_process_uses_is_refused(cli, folder):
    with RunFolder(folder / "run").lock():
        check_refused(cli, folder, ["confirm", "run"], "another process")


def test_confirm_prints_json_alone(replayed, cli):
    options = ["run", "--seeds", "3", "--in-process", "--no-racing", "--margin", "0.5"]
    code, out, err = cli("confirm", *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["run"], result["ending"]) == ("run", "complete")
    table = read_rows(replayed / "run" / "verdict.csv")
    assert len(table) == len(result["verdicts"]) >= len(DEFAULT_ARMS) - 1
    for row, printed in zip(table, result["verdicts"], strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in printed.items()}
        assert printed["margin"] == pytest.approx(0.005)
    assert "15/15" in err
    assert "Traceback" not in err


def test_confirm_prints_tables_for_people(replayed, cli):
    code, out, err = cli("confirm", "run", "--seeds", "2", "--in-process")
    assert code == 0, err
    for text in ("against paired", "trial 5", "the search said 70.0%", "inconclusive"):
        assert text in out
    assert "confirm.csv" in err
    assert "Traceback" not in out + err


def test_failed_trainings_are_named_and_their_number_is_right(folder, cli, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    runner = Runner(failing={("01*3", 2): "ValueError: no such luck"})
    monkeypatch.setattr(
        "relu_search.confirmation.confirm.confirm", functools.partial(confirm, runner=runner)
    )
    code, _, err = cli("confirm", "run", "--seeds", "2", "--in-process")
    assert code == 0
    assert "1 trainings failed" in err
    assert "no such luck" in err


@pytest.mark.parametrize("verb", ["confirm", "reproduce"])
def test_ctrl_c_ends_with_130_and_goes_on(verb, folder, cli, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    runner = Runner(stop_after=2)
    real = {"confirm": confirm, "reproduce": reproduce}[verb]
    module = {"confirm": "confirmation.confirm", "reproduce": "reproduce.run_experiment"}[verb]
    monkeypatch.setattr(f"relu_search.{module}.{verb}", functools.partial(real, runner=runner))
    arguments = {
        "confirm": ["confirm", "run", "--seeds", "2", "--top", "0"],
        "reproduce": ["reproduce", "table1", *SMALL, "--out", "new"],
    }[verb]
    code, out, err = cli(*arguments, "--in-process")
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    runner.stop_after = None
    assert cli(*arguments, "--in-process")[0] == 0
    assert len(runner.calls) == len(set(zip(runner.calls, map(str, runner.specs), strict=True)))
    assert len(runner.calls) == {"confirm": 6, "reproduce": 8}[verb]


def test_ctrl_c_without_ray_says_that_it_was_interrupted(folder, cli, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    replay = functools.partial(confirm, runner=Runner(stop_after=1))
    monkeypatch.setattr("relu_search.confirmation.confirm.confirm", replay)
    code, _, err = cli("confirm", "run", "--seeds", "2", "--in-process")
    assert code == 130
    assert "interrupted" in err.lower()


# --- reproduce --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table4"], "'table4' is unknown; use one of table1, table2, table3"),
        ([""], "unknown"),
        (["table1", "--depths", "38,x"], "38,x"),
        (["table1", "--depths", ""], "depths"),
        (["table1", "--depths", "38,"], "depths"),
        (["table1", "--depths", "38.5"], "depths"),
        (["table1", "--depths", "-1"], "-1"),
        (["table1", "--depths", "0"], "0"),
        (["table1", "--depths", "99999999"], "99999999"),
        (["table2", "--depths", "62,63"], "preresnet-63|63"),
        (["figure7", "--depths", "39"], "39"),
        (["table3", "--depths", "39"], "39"),
        (["table1", "--seeds", "1"], "seeds is 1"),
        (["table1", "--seeds", "0"], "seeds is 0"),
        (["table1", "--seeds", "99999999"], "seeds is 99999999"),
        (["table1", "--first-seed", "-1"], "first seed is -1"),
        (["table1", "--first-seed", "2147483647"], "first seed is 2147483647"),
        (["table1", "--epochs", "0"], "epochs is 0"),
        (["table1", "--epochs", "-5"], "epochs is -5"),
        (["table1", "--width", "0"], "width 0"),
        (["table1", "--width", "-4"], "width -4"),
        (["table1", "--precision", "fp8"], "fp32"),
        (["table1", "--data", "mnist"], "'mnist' is unknown"),
        (["table1", "--data", "folder:none"], "does not exist"),
        (["table1", "--data", "parquet:full"], r"no train\.parquet"),
        (["table1", "--data-dir", "full"], "--download"),
        (["table1", "--data", "digits", "--train-limit", "0"], "train limit 0"),
        (["table1", "--data", "digits", "--train-limit", "-1"], "train limit -1"),
        (["table1", "--data", "digits", "--train-limit", "99999"], "train limit 99999"),
        (["table1", *SMALL, "--out", "file"], "file"),
        (["table1", *SMALL, "--out", "file/under"], "file"),
        (["table1", *SMALL, "--out", "full"], "holds other things"),
        (["table1", *SMALL, "--out", "run"], "holds other things"),
        (["table1", *SMALL, "--out", "/proc/new"], "cannot be written"),
        (["table1", "--colour"], "--colour"),
        ([], "study|STUDY"),
    ],
    ids=by_name,
)
def test_bad_input_of_reproduce_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["reproduce", *arguments], says)


def test_a_folder_with_other_settings_is_refused(replayed, cli):
    options = ["reproduce", "table1", *SMALL, "--in-process", "--out", "new"]
    assert cli(*options)[0] == 0
    for change, says in (
        (["--epochs", "2"], "epochs 1"),
        (["--width", "4"], "width 2"),
        (["--train-limit", "50"], "train_limit"),
    ):
        check_refused(cli, replayed, [*options, *change], says)
    check_refused(
        cli, replayed, ["reproduce", "figure6", *SMALL, "--depths", "8", "--out", "new"], "study"
    )


def test_a_damaged_reproduction_is_refused(replayed, cli):
    options = ["reproduce", "table1", *SMALL, "--in-process", "--out", "new"]
    assert cli(*options)[0] == 0
    good = (replayed / "new" / "runs.csv").read_text()
    (replayed / "new" / "runs.csv").write_text(good.replace("test_accuracy", "accuracy"))
    check_refused(cli, replayed, options, "no column test_accuracy")
    (replayed / "new" / "runs.csv").unlink()
    check_refused(cli, replayed, options, "runs.csv cannot be read")
    (replayed / "new" / "reproduce.toml").write_text("study = ")
    check_refused(cli, replayed, options, "not valid TOML")


def test_reproduce_prints_json_alone(replayed, cli):
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


def test_reproduce_prints_a_table_for_people(replayed, cli):
    code, out, err = cli("reproduce", "table1", *SMALL, "--in-process", "--out", "new")
    assert code == 0, err
    for text in ("Table I", "plain-5, digits", "2:1", "10 classes", "early trainability"):
        assert text in out
    assert "new" in err
    names = {path.name for path in (replayed / "new").iterdir()}
    assert names >= {"runs.csv", "curves.csv", "comparison.csv", "curves.png", "curves.pdf"}


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("confirm", ["--top", "--modules", "--seeds", "--epochs", "--margin", "--no-racing"]),
        ("reproduce", ["--depths", "--seeds", "--epochs", "--train-limit", "--width", "--data"]),
    ],
)
def test_help_has_an_example_and_every_option(verb, names, cli):
    code, out, _ = cli(verb, "--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    assert f"Example: relu-search {verb} " in text.replace("`", "")
    for name in [*names, "--json", "--in-process"]:
        assert name in text
