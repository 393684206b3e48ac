"""A folder has one process at a time, and no lock outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from search_spaces import InputError
from trials.files.locks import is_locked, locked


def test_a_lock_is_refused_to_others_and_ends_with_its_owner(tmp_path):
    hold = (
        "import sys, pathlib\nfrom trials.files.locks import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is at work"), locked(tmp_path):
            pass
        owner.kill()
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "none"):
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def no_locks(file, flags):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    words = r"without locks \(No locks available\); use another"
    with pytest.raises(InputError, match=words), locked(tmp_path):
        pass


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="needs Linux's /proc/locks")
def test_a_held_lock_is_seen_without_taking_it(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    assert not is_locked(tmp_path)
    with locked(tmp_path), locked(tmp_path / "other"):
        monkeypatch.setattr("trials.files.locks.fcntl.flock", None)
        assert is_locked(tmp_path)
        monkeypatch.undo()
    with locked(tmp_path / "other"):
        assert not is_locked(tmp_path)
