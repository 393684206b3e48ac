"""The run folder: how a new one is made, and what is never replaced."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from relu_search import RunFolder, SearchConfig
from relu_search.report.run_report import write_report
from relu_search.run_folder.new_folders import fresh_folder
from search_spaces import InputError


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
    assert [path.name for path in Path("runs").iterdir()] == [first.path.name]


def test_of_many_in_one_second_each_takes_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _format: "20260101-120000")
    barrier, taken = threading.Barrier(8), []

    def take():
        barrier.wait()
        taken.extend(fresh_folder(tmp_path / "runs").name for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, *others = sorted(taken, key=len)
    assert first == "20260101-120000"
    assert sorted(int(name.removeprefix(f"{first}-")) for name in others) == [*range(2, 41)]


def test_a_new_folder_that_is_not_used_does_not_stay(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("mine", "a/b/new"):
        with RunFolder.create(str(tmp_path / name)) as run:
            (run.path / "ray.log").write_text("Ray does not start")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


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
    with RunFolder.create(str(tmp_path), overwrite=True) as run:
        assert (tmp_path / "config.toml").is_file()
        run.clear()
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_replacing_a_run_leaves_what_the_user_put_beside_it(tmp_path):
    RunFolder(tmp_path).write_config(SearchConfig().resolve(), {})
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder.create(str(tmp_path), overwrite=True) as run:
        run.clear()
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


# --- links, which may lead out of the folder --------------------------------------------------


@pytest.mark.parametrize(
    "name", ["trials.csv", "study.journal", "weights", "checkpoints", "best", "figures", "confirm"]
)
def test_nothing_is_written_through_a_link(name, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (run.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name} is a link"), run.lock():
        pass
    with pytest.raises(InputError, match=f"{name} is a link"):
        write_report(run)
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_the_lock_is_no_way_out_either(kind, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    mine = tmp_path / "mine"
    mine.write_text("mine")
    if kind == "link":
        (run.path / ".lock").symlink_to(mine)
        with pytest.raises(InputError, match="cannot be written"), run.lock():
            pass
    else:
        os.mkfifo(run.path / ".lock")
        with run.lock():
            pass
    assert mine.read_text() == "mine"
