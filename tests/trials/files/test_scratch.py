"""Temporary folders whose owners live, end, or are killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trials.files.durable import remove_partial_files
from trials.files.scratch import PREFIX, has_owner, owned_folder, remove_if_abandoned, sweep

ROOT = Path(__file__).parents[3]
OWNER = """
import subprocess, sys
from pathlib import Path
from trials.files.scratch import owned_folder
with owned_folder(Path({parent!r}), watched={watched}) as folder:
    log = (folder / "log").open("w")
    child = subprocess.Popen(
        [sys.executable, "-c", "print('begun', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=log, start_new_session=True,
    )
    print(folder, child.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def owner(tmp_path):
    """Starts a process with a folder, into which a child of it writes.

    Returns the process, the folder and a descriptor of the child, readable when it has ended.
    """
    begun = []

    def start(watched):
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER.format(parent=str(tmp_path), watched=watched)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        folder, child = process.stdout.readline().split()
        begun.append(process)
        return process, Path(folder), os.pidfd_open(int(child))

    yield start
    for process in begun:
        process.kill()
        process.communicate()
    sweep(tmp_path)


def ended(descriptor, seconds=60):
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_a_folder_ends_with_its_block_and_has_an_owner_until_then(tmp_path):
    with owned_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
        sweep(tmp_path)
        assert not remove_if_abandoned(folder)
        assert (folder / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_swept_by_the_next_one(owner, tmp_path):
    process, folder, child = owner(watched=False)
    process.kill()
    process.wait()
    assert folder.exists()
    assert not ended(child, 0)
    with owned_folder(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert ended(child)


def test_the_folder_of_a_living_owner_is_not_swept(owner, tmp_path):
    process, folder, child = owner(watched=False)
    sweep(tmp_path)
    assert folder.exists()
    assert not ended(child, 0)
    process.communicate("\n")
    assert not folder.exists()


def test_a_watched_folder_does_not_outlive_its_owner(owner, tmp_path):
    process, _, child = owner(watched=True)
    process.kill()
    assert ended(child)
    assert process.stdout.read() == ""  # the watcher does not hold the streams of its owner


def test_who_only_reads_in_an_abandoned_folder_stays_alive(owner, tmp_path):
    process, folder, child = owner(watched=False)
    with (folder / "log").open() as log:
        reader = subprocess.Popen(
            [sys.executable, "-c", "print('reads', flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[log.fileno()],
        )
        assert reader.stdout.readline() == b"reads\n"
    process.kill()
    process.wait()
    assert remove_if_abandoned(folder)
    assert ended(child)
    reader.communicate(b"\n")
    assert reader.returncode == 0


def test_names_do_not_depend_on_the_process(tmp_path):
    with owned_folder(tmp_path) as one, owned_folder(tmp_path) as other:
        assert one != other
        assert str(os.getpid()) not in one.name.removeprefix(PREFIX)


def test_many_at_once_do_not_take_each_others_folders(tmp_path):
    barrier, lost = threading.Barrier(8), []

    def work():
        barrier.wait()
        for _ in range(30):
            with owned_folder(tmp_path) as folder:
                (folder / "file").write_text("x")
                sweep(tmp_path)
                if not (folder / "file").exists():
                    lost.append(folder)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link", "old folder"])
def test_only_folders_are_swept(kind, tmp_path):
    path, elsewhere = tmp_path / f"{PREFIX}x", tmp_path / "elsewhere"
    elsewhere.mkdir()
    match kind:
        case "file":
            path.write_text("x")
        case "link":
            path.symlink_to(elsewhere)
        case "old folder":
            path.mkdir()
    sweep(tmp_path)
    assert path.exists() == (kind != "old folder")
    assert elsewhere.exists()


def test_without_locks_an_old_folder_is_abandoned(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    new, old = (tmp_path / f"{PREFIX}{name}" for name in ("new", "old"))
    for path in (new, old):
        path.mkdir()
    os.utime(old, (0, 0))
    sweep(tmp_path)
    assert (new.exists(), old.exists()) == (True, False)


def test_a_half_written_file_of_a_living_process_stays(tmp_path):
    path = tmp_path / ".table.csv.0123.partial"
    with path.open("w") as file:
        assert not has_owner(file.fileno())
        remove_partial_files(tmp_path)
        assert path.exists()
    remove_partial_files(tmp_path)
    assert not path.exists()
