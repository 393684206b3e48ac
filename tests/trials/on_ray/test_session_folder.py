"""Where Ray keeps its sockets, whose paths the system limits."""

from __future__ import annotations

import logging
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

from search_spaces import InputError
from trials.files.scratch import LONGEST_NAME
from trials.on_ray.session_folder import LONGEST_SOCKET, session_folder

SESSION = f"session_2026-11-26_05-41-28_131744_{os.getpid()}/sockets/plasma_store"
"""As Ray 2.60 names it; the time has always as many digits."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def folder_of(parent, length):
    """A folder in which Ray's socket has a path of this length."""
    folder = parent / ("x" * (length - LONGEST_NAME - len(f"{parent}///{SESSION}")))
    folder.mkdir()
    return folder


@pytest.fixture
def short_path(tmp_path_factory):
    """A folder whose own path is short; pytest's may be too long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_longest_socket_is_what_the_system_can_bind():
    for length, possible in ((LONGEST_SOCKET, True), (LONGEST_SOCKET + 1, False)):
        with socket.socket(socket.AF_UNIX) as server:
            name = "s" * (length - len("/tmp/"))
            path = f"/tmp/{name}"
            if possible:
                server.bind(path)
                os.unlink(path)
            else:
                with pytest.raises(OSError, match="too long"):
                    server.bind(path)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_is_just_short_enough_is_used(variable, short_path, monkeypatch):
    parent = folder_of(short_path, LONGEST_SOCKET)
    monkeypatch.setenv(variable, str(parent))
    with session_folder() as folder:
        assert folder.parent == parent
        assert len(f"{folder}/{SESSION}") == LONGEST_SOCKET
    assert list(parent.iterdir()) == []


def test_a_missing_folder_is_made(short_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short_path / "job"))
    with session_folder() as folder:
        assert folder.parent == short_path / "job"


def test_a_long_tmpdir_is_replaced_by_a_private_folder_that_is_removed(
    short_path, monkeypatch, caplog
):
    monkeypatch.setenv("TMPDIR", str(folder_of(short_path, LONGEST_SOCKET + 1)))
    with caplog.at_level(logging.WARNING), session_folder() as folder:
        assert len(f"{folder}/{SESSION}") <= LONGEST_SOCKET
        assert os.stat(folder).st_mode & 0o777 == 0o700
        (message,) = [record.getMessage() for record in caplog.records]
        assert str(folder) in message
        assert "would have 108 bytes, and 107 are possible" in message
    assert not os.path.exists(folder)


@pytest.mark.parametrize(
    ("tmpdir", "says"), [("/proc", "/proc cannot be written"), ("tmp", "not an absolute path")]
)
def test_a_tmpdir_that_ray_cannot_use_is_replaced(tmpdir, says, monkeypatch, caplog):
    monkeypatch.setenv("TMPDIR", tmpdir)
    with caplog.at_level(logging.WARNING), session_folder() as folder:
        assert folder.parent == Path("/tmp")
    assert says in caplog.text


def test_a_ray_tmpdir_that_ray_cannot_use_is_refused(short_path, monkeypatch):
    for folder in (folder_of(short_path, LONGEST_SOCKET + 1), "/proc", "tmp"):
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        pattern = f"RAY_TMPDIR '{re.escape(str(folder))}' cannot be used.*unset it"
        with pytest.raises(InputError, match=pattern), session_folder():
            pass


def test_if_no_short_folder_can_be_written_one_line_says_so(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.setattr("trials.on_ray.session_folder.SHORT_FOLDERS", ("/proc", "/proc/x"))
    with (
        pytest.raises(InputError, match="none of /proc, /proc/x can be written; set RAY_TMPDIR"),
        session_folder(),
    ):
        pass
