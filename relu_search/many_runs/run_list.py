"""The runs of a folder: what, when, state, best, size on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from relu_search.analysis.leaderboard import best_trial
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import DECIDED
from relu_search.run_folder.time_spent import time_spent
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.files.locks import locked
from trials.files.paths import user_path

_DEEPEST = 3
"""Folders within folders in which runs are looked for."""
State = Literal["running", "ended", "interrupted", "damaged"]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run in a list.

    Attributes:
        run: its folder.
        state: `running`: a process is at work in it; `ended`: its budget is used up; `interrupted`:
            it is not; `damaged`: it cannot be read.
        what: backbone and data; of a damaged run, what is wrong.
        trials: that have ended.
        budget: of the search, in words.
        best: placement or module of the best trial; None: there is none.
        value: its metric as text.
        confirmed: whether there are verdicts.
        changed: when its files last changed, in seconds since 1970.
        size: bytes on disk.
    """

    run: Path
    state: State
    what: str
    trials: int = 0
    budget: str = ""
    best: str | None = None
    value: str = ""
    confirmed: bool = False
    changed: float
    size: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"run": str(self.run)}


def runs_of(folder: str) -> list[RunFacts]:
    """The searches in a folder and in its folders, the one that changed last first.

    Raises:
        InputError: no such folder.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give one that holds runs, such as runs")
    found = [_facts(run) for run in run_folders(root)]
    return sorted(found, key=lambda facts: -facts.changed)


def state_of(run: RunFolder, config: ResolvedConfig, seconds: list[float]) -> State:
    """Whether a process is at work in a run, and if not, whether its budget is used up.

    Args:
        seconds: that each trial took which has ended.
    """
    if not is_free(run.path):
        return "running"
    return "ended" if is_spent(run, config, seconds) else "interrupted"


def is_spent(run: RunFolder, config: ResolvedConfig, seconds: list[float]) -> bool:
    """Whether the budget of a search is used up, or the search was decided.


    A time budget is used up if less of it is left than an average trial took.

    Args:
        seconds: that each trial took which has ended.
    """
    if len(seconds) >= config.most_trials or DECIDED in run.read_config()[1]:
        return True
    if config.time_limit is None or not seconds:
        return False
    left = config.time_limit - time_spent(run.path, "search")
    return left < sum(seconds) / len(seconds)


def _facts(run: RunFolder) -> RunFacts:
    files = [entry for entry in run.path.rglob("*") if not entry.is_symlink() and entry.is_file()]
    size = sum(file.stat().st_size for file in files)
    changed = max(file.stat().st_mtime for file in files)
    try:
        config, _ = run.read_config()
        trials = run.read_trials()
        best = best_trial(trials, config)
        return RunFacts(
            run=run.path,
            state=state_of(run, config, trials["seconds"].astype(float).tolist()),
            what=f"{config.network.label}, {config.data}",
            trials=len(trials),
            budget=config.budget_text,
            best=None if best is None else best["module"] or best["placement"],
            value="" if best is None else config.optimised.text(best[config.metric]),
            confirmed=run.table("verdict.csv").is_file(),
            changed=changed,
            size=size,
        )
    except InputError as error:
        what = str(error)
        return RunFacts(run=run.path, state="damaged", what=what, changed=changed, size=size)


def run_folders(root: Path, depth: int = 0) -> Iterator[RunFolder]:
    """The folder itself if it is a run; else the runs in it, and in its folders.

    A folder that cannot be read, or is gone, has none.
    """
    if RunFolder(root).is_run():
        yield RunFolder(root)
        return
    if depth < _DEEPEST:
        entries: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError):
            entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from run_folders(Path(entry.path), depth + 1)


def is_free(folder: Path) -> bool:
    """Whether no process works in a folder. A folder that cannot be written counts as free."""
    if not (folder / ".lock").exists() or not os.access(folder / ".lock", os.W_OK):
        return True
    try:
        with locked(folder):
            return True
    except InputError:
        return False
