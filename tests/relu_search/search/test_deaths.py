"""A hundred deaths at random moments, and Ctrl-C at forty moments of the start.

Real commands in processes of their own. Any process of a command may die: the one that was
started, the one that works, Ray's own, and the workers. What is finished stays, budgets are kept
exactly, and after the next command no process, no temporary folder and no half-written file is
left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.cut_off import table
from helpers.killing import Run, born, lines, strike

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc"),
]

SEARCH = (
    *("search", "--backbone", "plain-8", "--width", "2", "--train-limit", "300", "--no-report"),
    *("--epochs", "6", "--trials", "10", "--grace-epochs", "2", "--max-failures", "30"),
)
KINDS = {
    "one worker": ("--concurrent", "1"),
    "two workers": ("--concurrent", "2"),
    "packs": ("--pack", "2"),
    "two objectives": ("--concurrent", "2", "--objective", "loss,relus"),
}
LINE = "relu-search: "


@pytest.fixture
def temporary():
    """A folder for the temporary files of commands, with a short path. It must be empty at last."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


class Deaths:
    """Starts commands and lets them die.

    Args:
        temporary: their folder for temporary files.
    """

    def __init__(self, temporary: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self._temporary = temporary
        self._seen: set = set()

    def die(self, command, progress=None, seconds=5.0) -> bool:
        """Let one process of a command die; whether the command was still running.

        Args:
            progress: file whose next lines are waited for; None: a random time is waited.
            seconds: the longest such time.
        """
        run = Run(*command, temporary=self._temporary)
        try:
            if progress is None:
                end = time.monotonic() + self.rng.uniform(0.02, seconds)
                alive = run.wait_for(lambda: time.monotonic() > end)
            else:
                goal = lines(progress) + self.rng.randrange(1, 6)
                alive = run.wait_for(lambda: lines(progress) >= goal)
                time.sleep(self.rng.uniform(0, 0.05))
            self._strike(run)
            code, text = run.finish()
        finally:
            run.kill()
        if code not in (0, -signal.SIGKILL):  # 0: only a worker has died
            last = text.strip().splitlines()[-1]
            assert last.startswith(LINE), text
            assert "safe" in last or "Give the same command again" in last, text
            assert "Traceback" not in text, text
        return alive

    def _strike(self, run: Run) -> None:
        processes = run.processes()
        self._seen |= {born(pid) for pid in processes}
        candidates = [
            processes[:1],
            processes[1:2],
            run.processes("raylet/raylet"),
            run.processes("gcs_server") if self.rng.random() < 0.1 else [],  # Ray waits a minute
            run.workers(),
        ]
        pid = self.rng.choice([pids[0] for pids in candidates if pids])
        strike(pid)

    def finish(self, *command) -> str:
        """Run a command to its end, after which nothing is left of those that died."""
        code, text = Run(*command, temporary=self._temporary).finish()
        assert code == 0, text
        left = {one for one in self._seen - {None} if born(one[0]) == one}
        assert not left, left
        assert list(self._temporary.iterdir()) == []
        return text


def whole_files(folder: Path) -> None:
    for pattern in (".export-*", "*.partial"):
        assert list(folder.rglob(pattern)) == []


def rows(path: Path) -> set[str]:
    """The whole lines of a table, without its heading."""
    text = path.read_text() if path.exists() else ""
    return set(text[: text.rfind("\n") + 1].splitlines()[1:])


@pytest.mark.parametrize(("kind", "deaths"), [(kind, 15) for kind in KINDS])
def test_a_search_survives_deaths(kind, deaths, temporary, tmp_path):
    folder, dying = tmp_path / "run", Deaths(temporary, seed=len(kind))
    known: set[str] = set()
    for _ in range(deaths):
        begun = (folder / "config.toml").exists()
        command = ("search", "--resume", folder) if begun else (*SEARCH, *KINDS[kind])
        at_start = dying.rng.random() < 0.4
        if (spent := len(known)) >= 10:  # more of it, so that there is something to lose
            command = (*command, "--trials", spent + 4)
        if not begun:
            command = (*command, "--out", folder)
        dying.die(command, None if at_start else folder / "study.journal")
        now = rows(folder / "trials.csv")
        assert known <= now
        known = now
    config = (folder / "config.toml").read_text()
    budget = int(config.partition("\ntrials = ")[2].split()[0])
    dying.finish("search", "--resume", folder)
    trials = pd.read_csv(folder / "trials.csv")
    assert sorted(trials["trial"]) == list(range(budget))
    assert known <= rows(folder / "trials.csv")
    epochs = pd.read_csv(folder / "epochs.csv")
    assert not epochs.duplicated(["trial", "epoch"]).any()
    for row in trials.itertuples():
        assert sorted(epochs[epochs["trial"] == row.trial]["epoch"]) == [*range(1, row.epochs + 1)]
    complete = trials[trials["state"] == "COMPLETE"]["trial"]
    assert {path.stem for path in (folder / "weights").iterdir()} >= {
        f"trial-{number:04d}" for number in complete
    }
    whole_files(folder)


@pytest.fixture
def finished(searched, tmp_path):
    """A finished search, for commands about it."""
    return Path(shutil.copytree(searched.run.path, tmp_path / "run"))


def test_a_confirmation_survives_deaths(finished, temporary, tmp_path):
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    options = ("--top", "1", "--modules", "2:1", "--seeds", "6", "--epochs", "6", "--no-racing")
    dying = Deaths(temporary, seed=1)
    dying.finish("confirm", whole, *options)
    known: set[str] = set()
    for number in range(20):
        at_start = number % 4 == 0
        progress = None if at_start else finished / "confirm_epochs.csv"
        dying.die(("confirm", finished, *options), progress)
        now = rows(finished / "confirm.csv")
        assert known <= now
        known = now
    dying.finish("confirm", finished, *options)
    for name in ("confirm.csv", "confirm_epochs.csv"):
        assert table(finished / name) == table(whole / name)
    assert (finished / "verdict.csv").read_bytes() == (whole / "verdict.csv").read_bytes()
    whole_files(finished)


def test_reports_and_exports_survive_deaths(finished, temporary, tmp_path):
    dying, out = Deaths(temporary, seed=2), tmp_path / "out"
    before = (finished / "trials.csv").read_bytes()
    for number in range(20):
        if number % 2:
            dying.die(("export", finished, "--format", "python", "--out", out), seconds=8)
            if out.exists():  # at once, with all files
                assert json.loads((out / "card.json").read_text())["files"].keys() == {
                    path.name for path in out.iterdir() if path.name != "card.json"
                }
                shutil.rmtree(out)
        else:
            dying.die(("report", finished), seconds=8)
    dying.finish("report", finished)
    dying.finish("export", finished, "--format", "python", "--out", out)
    assert (finished / "trials.csv").read_bytes() == before
    whole_files(tmp_path)


@pytest.mark.parametrize(
    ("number", "code", "moments"),
    [(signal.SIGINT, 130, 40), (signal.SIGTERM, 143, 15), (signal.SIGHUP, 129, 15)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_signal_at_many_moments_of_the_start(number, code, moments, temporary, tmp_path):
    """From the moment when Python has found the program, until the first epochs of training."""
    codes, folder = [], tmp_path / "run"
    for moment in range(moments):
        run = Run(*SEARCH, "--out", folder, temporary=temporary)
        end = time.monotonic() + 0.15 + 6 * moment / moments
        run.wait_for(lambda end=end: time.monotonic() > end)
        run.interrupt(number)
        ended, text = run.finish()
        codes.append(ended)
        written = [line for line in text.strip().splitlines() if line.startswith(LINE)]
        assert len(written) == 1, text
        assert "Traceback" not in text, text
        assert "***" not in text, text
        assert list(temporary.iterdir()) == []
        shutil.rmtree(folder, ignore_errors=True)
    assert codes == [code] * moments
