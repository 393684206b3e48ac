"""The list of the runs of a folder, and what is removed from them."""

from __future__ import annotations

import os

import pytest
from helpers.confirming import confirmed
from helpers.judging import DEFAULT_ARMS, TRIALS, Runner, files_under, make_search, read_rows

from relu_search import RunFolder
from relu_search.many_runs.cleaning import clean, unneeded_files
from relu_search.many_runs.run_list import runs_of
from relu_search.run_folder.time_spent import save_time
from search_spaces import InputError

SIZE = 1000


def with_files(folder):
    """Give a made-up run weights of all full-length trials, and a checkpoint."""
    for name in ("weights", "checkpoints"):
        (folder / name).mkdir()
    for number in (0, 1, 2, 3, 5):
        RunFolder(folder).trial_weights(number).write_bytes(bytes(SIZE))
    (folder / "checkpoints" / "a.safetensors").write_bytes(bytes(SIZE))
    return folder


def ages(root, *names):
    """Let the files of these runs have changed one after another."""
    for age, name in enumerate(names):
        for file in (root / name).rglob("*"):
            os.utime(file, (age, age))


def test_every_run_has_its_state_best_and_size_the_latest_first(tmp_path):
    make_search(tmp_path / "ended")
    make_search(tmp_path / "deep" / "er" / "interrupted", trials=[])
    make_search(tmp_path / "damaged")
    (tmp_path / "damaged" / "trials.csv").write_text("no table")
    make_search(tmp_path / "running")
    (tmp_path / "no run").mkdir()
    ages(tmp_path, "ended", "deep", "damaged", "running")
    with RunFolder(tmp_path / "running").lock():
        found = {facts.run.name: facts for facts in runs_of(str(tmp_path))}
    assert list(found) == ["running", "damaged", "interrupted", "ended"]
    assert {name: facts.state for name, facts in found.items()} == {n: n for n in found}
    ended = found["ended"]
    assert (ended.best, ended.value, ended.trials, ended.budget) == (
        "0+1*5",
        "70.0 %",
        7,
        "7 trials",
    )
    assert ended.what == "plain-8, width 2, digits"
    files = [file for file in (tmp_path / "ended").rglob("*") if file.is_file()]
    assert ended.size == sum(len(file.read_bytes()) for file in files)
    assert "trials.csv cannot be read" in found["damaged"].what
    assert found["interrupted"].best is None


@pytest.mark.parametrize(("spent", "state"), [(99.5, "ended"), (98, "interrupted")])
def test_a_time_budget_has_ended_if_no_average_trial_fits(spent, state, tmp_path):
    make_search(tmp_path / "run", budget={"trials": None, "time_budget": "100s"})
    save_time(tmp_path / "run", "search", spent)  # a trial took one second
    assert [facts.state for facts in runs_of(str(tmp_path))] == [state]


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no is not a folder; give one that holds runs"):
        runs_of(str(tmp_path / "no"))


def test_of_an_ended_search_the_best_run_of_each_placement_stays(tmp_path):
    again = ("COMPLETE", "", "0+1*5", 0.69)
    folder = with_files(make_search(tmp_path / "run", trials=[*TRIALS, again]))
    more = RunFolder(folder).trial_weights(7)
    more.write_bytes(bytes(SIZE))
    before = files_under(folder)
    unneeded = [folder / "checkpoints" / "a.safetensors", more]
    assert unneeded_files(RunFolder(folder)) == unneeded
    assert files_under(folder) == before
    assert clean(RunFolder(folder)) == unneeded
    assert files_under(folder).keys() == before.keys() - set(unneeded) | {folder / ".lock"}


def test_a_run_that_goes_on_keeps_everything(tmp_path):
    folder = with_files(make_search(tmp_path / "run", budget={"trials": 8}))
    assert clean(RunFolder(folder)) == []


def test_of_a_confirmation_the_weights_of_the_best_arm_stay(tmp_path):
    folder = make_search(tmp_path / "run")
    confirmed(folder, Runner())
    rows = read_rows(folder / "confirm.csv")
    assert len(list((folder / "confirm").glob("*.safetensors"))) == 2 * len(DEFAULT_ARMS)
    means = {
        arm: sum(float(row["test_accuracy"]) for row in rows if row["arm"] == arm)
        for arm in DEFAULT_ARMS
    }
    best = next(row["placement"] for row in rows if row["arm"] == max(means, key=means.get))
    assert len(clean(RunFolder(folder))) == 2 * len(DEFAULT_ARMS) - 2
    left = sorted(file.name for file in (folder / "confirm").glob("*.safetensors"))
    slug = best.replace("*", "-").replace("+", "-")
    assert [name.startswith(slug) for name in left] == [True, True]


def test_weights_that_have_no_test_score_yet_stay(tmp_path):
    folder = make_search(tmp_path / "run")
    confirmed(folder, Runner())
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(stop_after=2), seeds=3)
    assert [file for file in clean(RunFolder(folder)) if file.parent.name == "confirm"] == []


def test_the_command_lists_and_removes_only_when_told(tmp_path, cli, cli_json):
    folder = with_files(make_search(tmp_path / "run"))
    checkpoint = folder / "checkpoints" / "a.safetensors"
    code, out, _ = cli("runs", tmp_path)
    assert (code, "0+1*5 70.0 %" in out, "ended" in out) == (0, True, True)
    assert cli_json("runs", tmp_path)["runs"][0]["best"] == "0+1*5"
    code, out, err = cli("runs", tmp_path, "--clean")
    assert (code, out.split()[-1]) == (0, str(checkpoint))
    assert "1 file, 0.977 KiB. Remove them with --clean --yes." in err
    assert checkpoint.exists()
    assert cli_json("runs", tmp_path, "--clean", "--yes") == {
        "removed": True,
        "files": {str(checkpoint): SIZE},
    }
    assert not checkpoint.exists()
    code, _, err = cli("runs", tmp_path, "--yes")
    assert (code, "--yes is for --clean" in err) == (2, True)
