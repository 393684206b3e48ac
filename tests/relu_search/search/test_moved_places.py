"""Runs that go on from another working directory, and with data that have been moved."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import check_refused
from helpers.judging import Runner, make_search, write_digits
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from relu_search.confirmation.confirm import confirm
from relu_search.run_folder.study import check_storage, has_study, open_study
from relu_search.search.resuming import changed_config, same_data
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.running.trial_files import TrialFiles

ROOT = Path(__file__).parents[3]
HERE = Machines(in_process=True)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The working folder of a search on `parquet:images`; its run is in `run`."""
    start = tmp_path / "start"
    start.mkdir()
    monkeypatch.chdir(start)
    write_digits(Path("images"))
    make_search(Path("run"), data="parquet:images", train_limit=None)
    return start


@pytest.fixture
def elsewhere(start, monkeypatch):
    """Another working folder."""
    folder = start.parent / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def with_relative_data(run):
    """Make the run one of an older version."""
    text = (run / "config.toml").read_text()
    assert f"parquet:{run.parent}/images" in text
    (run / "config.toml").write_text(text.replace(f"{run.parent}/images", "images"))


def test_a_run_goes_on_from_another_working_directory(start, elsewhere):
    run = RunFolder.open("../start/run")
    config = changed_config(run, {"data": "parquet:../start/images"})
    assert same_data(run, config.load_data()).name == f"parquet:{start}/images"
    assert confirm("../start/run", seeds=2, compute=HERE, runner=Runner()).ending == "complete"


def test_a_run_of_an_older_version_goes_on_from_its_own_directory(start):
    with_relative_data(start / "run")
    run = RunFolder.open("run")
    data = same_data(run, changed_config(run, {}).load_data())
    assert data.name == "parquet:images"  # so its checkpoints are found
    assert confirm("run", seeds=2, compute=HERE, runner=Runner()).ending == "complete"


def test_moved_data_are_taken_from_their_new_place(start, elsewhere):
    (start / "images").rename(elsewhere / "moved")
    run = RunFolder.open(start / "run")
    with pytest.raises(InputError, match="does not exist"):
        changed_config(run, {}).load_data()
    config = changed_config(run, {"data": "parquet:moved"})
    assert config.data == f"parquet:{elsewhere}/moved"
    data = config.load_data()
    assert data.name == config.data
    assert same_data(run, data).name == f"parquet:{start}/images"
    with pytest.raises(InputError, match="does not exist"):
        confirm(start / "run", seeds=2, compute=HERE, runner=Runner())
    names = []

    def runner(spec, data, **options):
        names.append(data.name)
        return Runner()(spec, data, **options)

    outcome = confirm(start / "run", seeds=2, data="parquet:moved", compute=HERE, runner=runner)
    assert outcome.ending == "complete"
    assert set(names) == {f"parquet:{start}/images"}


def test_the_checkpoint_of_moved_data_is_found(start, elsewhere):
    """Its name is a digest of the name that the data had when the run began."""
    run = RunFolder.open(start / "run")
    config = changed_config(run, {})
    spec, files = config.trial_spec(config.references["paired"]), TrialFiles(checkpoints=start)
    before = files.checkpoint_of(spec, config.load_data())
    (start / "images").rename(elsewhere / "moved")
    moved = changed_config(run, {"data": "parquet:moved"}).load_data()
    assert files.checkpoint_of(spec, same_data(run, moved)) == before
    assert files.checkpoint_of(spec, moved) != before


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("parquet:other", "not those"),
        ("parquet:nothing", "does not exist"),
        ("folder:images", r"--data folder:\S+/images \(it has parquet:\S+/images\) contradicts"),
        ("digits", r"--data digits \(it has parquet:\S+/images\) contradicts"),
    ],
)
def test_other_data_are_refused(data, says, start, cli):
    write_digits(Path("other"), splits=["test"])
    shutil.copy("other/test.parquet", "other/train.parquet")
    (start / "run" / ".lock").touch()
    for verb in (["search", "--resume", "run"], ["confirm", "run", "--in-process"]):
        check_refused(cli, start, [*verb, "--data", data], says)


def test_a_set_of_torchvision_is_taken_from_another_folder(start, elsewhere):
    (start / "sets").mkdir()
    config = SearchConfig(data="svhn", trials=1)
    RunFolder(start / "sets").write_config(config.resolve(), RUN_RECORD)
    run = RunFolder.open(start / "sets")
    assert changed_config(run, {}).data_dir == f"{elsewhere}/data"
    moved = changed_config(run, {"data_dir": "new"})
    assert moved.data_dir == f"{elsewhere}/new"
    with pytest.raises(InputError, match="contradicts"):
        changed_config(run, {"data": "cifar10"})


def test_a_missing_sqlite_file_is_not_made_by_looking_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///study.db", f"sqlite:///{tmp_path}/other.db"):
        check_storage(url)
        assert not has_study(Path("journal"), "a", storage=url)
        with pytest.raises(InputError, match=r"does not exist; give .* with --storage"):
            open_study(Path("journal"), "a", ["maximize"], storage=url, resume=True)
    assert list(tmp_path.iterdir()) == []
    open_study(Path("journal"), "a", ["maximize"], storage=url)
    check_storage(url)
    assert has_study(Path("journal"), "a", storage=url)


@pytest.mark.slow
def test_search_resume_and_confirm_each_from_another_directory(tmp_path):
    """With relative data and a relative database; before the confirmation the data are moved."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    write_digits(folders[0] / "images")
    options = ("--backbone", "plain-5", "--width", "2", "--epochs", "1", "--concurrent", "1")

    def call(folder, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "relu_search.cli", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    places = ("--data", "parquet:images", "--storage", "sqlite:///study.db", "--out", "run")
    call(folders[0], "search", *options, *places, "--trials", "3")
    call(folders[1], "search", "--resume", "../first/run", "--trials", "4")
    (folders[0] / "images").rename(folders[2] / "moved")
    moved = ("--data", "parquet:moved", "--in-process", "--seeds", "2", "--top", "0")
    call(folders[2], "confirm", "../first/run", *moved)
    with (folders[0] / "run" / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert list(folders[1].iterdir()) == []
    assert [path.name for path in folders[2].iterdir()] == ["moved"]
