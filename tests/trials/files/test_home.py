"""Without a home folder, and with one that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trials.files.home import is_writable

PROBE = """
import os, pwd
from pathlib import Path
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody  # as in a container with a random user id
from trials.files.home import provide_home
provide_home()
provide_home()
print(Path.home())
print(os.environ.get("MPLCONFIGDIR", ""))
(Path(os.environ.get("MPLCONFIGDIR") or Path.home()) / "file").write_text("x")
"""


def provided(**environment):
    """Home folder and matplotlib's folder of a process, which has ended since."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "MPLCONFIGDIR")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=kept | environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:2]


def test_a_process_without_a_home_gets_one_until_it_ends(tmp_path):
    home, matplotlib = provided(TMPDIR=str(tmp_path))
    assert Path(home).parent == tmp_path
    assert matplotlib == ""
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_stays_the_home(tmp_path):
    home, matplotlib = provided(HOME="/proc", TMPDIR=str(tmp_path))
    assert home == "/proc"
    assert Path(matplotlib).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_can_be_written_is_left_alone(tmp_path):
    assert provided(HOME=str(tmp_path)) == [str(tmp_path), ""]


@pytest.mark.parametrize(
    ("folder", "writable"), [("", True), ("new/one", True), ("/proc", False), ("/proc/x/y", False)]
)
def test_a_folder_is_writable_if_it_can_be_made(folder, writable, tmp_path):
    assert is_writable(tmp_path / folder) == writable
    assert list(tmp_path.iterdir()) == []
