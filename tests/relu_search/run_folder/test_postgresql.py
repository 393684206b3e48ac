"""The study of a search in a real PostgreSQL server, behind a password."""

from __future__ import annotations

import contextlib
import csv
import gc
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from optuna.trial import TrialState, create_trial

from relu_search import RunFolder
from relu_search.run_folder.study import check_storage, open_study
from search_spaces import InputError
from trials.training.metrics import EpochMetrics

pytest.importorskip("psycopg", reason="needs the driver: pip install 'relu-search[postgresql]'")

# Optuna leaves closing its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:<psycopg.Connection:ResourceWarning")

PASSWORD = "5cr3t/pa:ss@word%"
SEARCH = (
    *("search", "--backbone", "plain-8", "--width", "4", "--data", "digits"),
    *("--train-limit", "100", "--epochs", "1", "--concurrent", "1"),
)


class Server:
    """A throw-away PostgreSQL on a free port of 127.0.0.1 that wants a password of everybody."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self._programs = programs
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        self._call(
            *("initdb", "--username=relu", f"--pwfile={password_file}", "--no-sync"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
        )

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
            f"-c unix_socket_directories={self.folder}"
        )
        log = self.folder / "log"
        self._call("pg_ctl", "start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        self._call("pg_ctl", "stop", "--wait", "--mode=immediate")

    def url(self, password: str | None = PASSWORD) -> str:
        login = "relu" if password is None else f"relu:{quote(password, safe='')}"
        return f"postgresql+psycopg://{login}@127.0.0.1:{self.port}/postgres"

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments, f"--pgdata={self.folder / 'data'}"],
            cwd=self.folder,
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the PATH, or where Debian puts them, newest first."""
    found = shutil.which("initdb")
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4])
    )
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


@pytest.fixture(scope="module")
def server():
    where = programs()
    if where is None:
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="relu-search-postgresql-"))
    try:
        folder.chmod(0o755)
        server = Server(where, folder)
        server.start()
        try:
            yield server
        finally:
            gc.collect()
            server.stop()
    finally:
        shutil.rmtree(folder)


def is_one_line_without_password(text):
    return len(text.splitlines()) == 1 and not shows_password(text)


def shows_password(text):
    return PASSWORD in text or quote(PASSWORD, safe="") in text


# --- studies ----------------------------------------------------------------------------------


def test_a_study_in_the_database_is_found_again(server, tmp_path):
    check_storage(server.url())
    journal = tmp_path / "study.journal"
    with pytest.raises(InputError, match="no study 'a'"):
        open_study(journal, "a", ["maximize"], storage=server.url(), resume=True)
    study = open_study(journal, "a", ["maximize"], storage=server.url())
    epoch = dict.fromkeys(EpochMetrics.__annotations__, 1 / 3)
    history = [epoch] * 400  # as long as the paper trains
    study.add_trial(create_trial(value=0.25, user_attrs={"history": history}))
    with pytest.raises(InputError, match="already has a study 'a'") as caught:
        open_study(journal, "a", ["maximize"], storage=server.url())
    assert not shows_password(str(caught.value))
    (trial,) = open_study(journal, "a", ["maximize"], storage=server.url(), resume=True).trials
    assert trial.value == 0.25
    assert trial.user_attrs["history"] == history
    assert not journal.exists()


def test_studies_of_many_runs_share_a_database(server, tmp_path):
    for name, value in (("one", 0.5), ("two", 0.75)):
        study = open_study(tmp_path / "journal", name, ["maximize"], storage=server.url())
        study.add_trial(create_trial(value=value))
    for name, value in (("one", 0.5), ("two", 0.75)):
        study = open_study(
            tmp_path / "journal", name, ["maximize"], storage=server.url(), resume=True
        )
        assert [trial.value for trial in study.trials] == [value]


def test_the_password_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    check_storage(server.url(password=None))


def test_the_password_may_come_from_a_password_file(server, monkeypatch, tmp_path):
    escaped = PASSWORD.replace(":", "\\:")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:*:relu:{escaped}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    check_storage(server.url(password=None))


@pytest.mark.parametrize("password", ["wr0ng", PASSWORD[:-1], None])
def test_a_wrong_or_missing_password_is_one_line_that_shows_none(
    server, cli, tmp_path, monkeypatch, password
):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "no-pgpass"))
    out = tmp_path / "run"
    code, stdout, err = cli(*SEARCH, "--storage", server.url(password), "--out", out)
    assert (code, stdout) == (2, "")
    assert is_one_line_without_password(err)
    assert "cannot be opened" in err
    assert "password" in err
    assert password is None or quote(password, safe="") not in err
    assert not out.exists()


# --- a search ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(server, tmp_path_factory):
    """A run folder, and all that the search printed, in a process of its own."""
    folder = tmp_path_factory.mktemp("database") / "run"
    command = [*SEARCH, "--trials", "3", "--verbose", "--storage", server.url(), "--out", folder]
    ended = subprocess.run(
        [sys.executable, "-m", "relu_search.cli", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout + ended.stderr


def trials_in(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def study_of(folder, server):
    name = RunFolder.open(folder).read_config()[1]["study"]
    return open_study(folder / "x", name, ["maximize"], storage=server.url(), resume=True)


def assert_equal_row_by_row(folder, server, count):
    stored, rows = study_of(folder, server).trials, trials_in(folder)
    assert len(stored) == len(rows) == count
    for trial, row in zip(stored, rows, strict=True):
        assert trial.state is TrialState.COMPLETE
        assert (str(trial.number), trial.state.name) == (row["trial"], row["state"])
        assert trial.user_attrs["placement"] == row["placement"]
        assert trial.value == float(row["val_loss"])
        assert list(trial.intermediate_values) == [int(row["epochs"])] == [1]


@pytest.mark.slow
def test_the_study_in_the_database_agrees_with_the_table(searched, server):
    folder, _ = searched
    assert_equal_row_by_row(folder, server, 3)
    assert not (folder / "study.journal").exists()


@pytest.mark.slow
def test_the_password_is_in_no_file_and_in_no_output(searched):
    folder, printed = searched
    assert not shows_password(printed)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "config.toml" in files
    for path in files:
        assert not shows_password(path.read_bytes().decode(errors="replace")), path


@pytest.mark.slow
def test_a_run_goes_on_when_a_file_gives_the_password_again(
    searched, server, cli, tmp_path, monkeypatch
):
    folder, _ = searched
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "no-pgpass"))
    before = (folder / "config.toml").read_bytes()
    code, stdout, err = cli("search", "--resume", folder, "--trials", "4")
    assert (code, stdout) == (2, "")
    assert "password" in err
    assert is_one_line_without_password(err)
    assert (folder / "config.toml").read_bytes() == before

    (tmp_path / "storage.toml").write_text(f'storage = "{server.url()}"')
    code, stdout, err = cli(
        *("search", "--resume", folder, "--trials", "4", "--config", tmp_path / "storage.toml")
    )
    assert code == 0, err
    assert not shows_password(stdout + err)
    assert_equal_row_by_row(folder, server, 4)
