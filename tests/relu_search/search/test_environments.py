"""Searches where a system gives less than usual: real ones, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.killing import lines, running

ROOT = Path(__file__).parents[3]
TINY = (
    *("search", "--backbone", "plain-5", "--width", "2", "--train-limit", "10"),
    *("--epochs", "1", "--trials", "3", "--concurrent", "1", "--out", "run"),
)
SOMEBODY_UNKNOWN = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
PROXY = "http://127.0.0.1:9"  # nothing listens there

pytestmark = pytest.mark.slow


@pytest.fixture
def search(tmp_path):
    """Runs a tiny search in an empty folder: (environment, words before the command) -> stderr."""

    def call(environment, *before, without=()):
        kept = {name: value for name, value in os.environ.items() if name not in without}
        done = subprocess.run(
            [*before, sys.executable, "-m", "relu_search.cli", *TINY],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert lines(tmp_path / "run" / "trials.csv") == 4
        assert "paired" in done.stdout
        return done.stderr

    return call


def unknown_user():
    """A command prefix under which the process has a user id without an entry."""
    can = shutil.which("unshare") and subprocess.run([*SOMEBODY_UNKNOWN, "true"], check=False)
    if not can or can.returncode:
        pytest.skip("this system makes no user namespaces")
    return SOMEBODY_UNKNOWN


def test_a_long_tmpdir(search, tmp_path):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    said = search({"TMPDIR": str(long)}, without=["RAY_TMPDIR"])
    assert "because TMPDIR cannot be used" in said
    assert not Path(said.split("logs in ")[1].split()[0]).exists()
    assert list(long.iterdir()) == []


def test_neither_home_nor_a_user_entry(search):
    with tempfile.TemporaryDirectory() as folder:
        search({"TMPDIR": folder}, *unknown_user(), without=["HOME", "USER", "LOGNAME"])
        assert list(Path(folder).glob("relu-search-*")) == []


def test_a_read_only_home(search):
    said = search({"HOME": "/proc"}, *unknown_user(), without=["RAY_AUTH_TOKEN"])
    assert "Permission" not in said


def test_a_proxy_for_everything(search):
    names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    search({form: PROXY for name in names for form in (name, name.upper())}, without=["no_proxy"])


def test_a_small_shared_memory(search):
    if os.geteuid():
        pytest.skip("only root can mount a small /dev/shm")
    mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    search({}, "unshare", "--mount", "sh", "-c", mount, "sh")


def test_the_workers_get_the_priority_that_was_asked_for(tmp_path):
    options = (*TINY[:-6], "--trials", "3", "--concurrent", "1", "--out", tmp_path / "run")
    with running(*options, "--epochs", "500", "--niceness", "3", under=("nice", "-n", "2")) as run:
        assert run.wait_for(lambda: bool(run.workers()))
        (worker,) = run.workers()
        assert os.getpriority(os.PRIO_PROCESS, worker) == os.nice(0) + 5
