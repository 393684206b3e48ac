"""Files of a run that nothing needs any more: which ones, and how they are removed.

Of a search that has ended: every checkpoint, and the weights of trials other than the best run of
each placement that the leaderboard shows. Of a confirmation in which every finished training has
its test score: every checkpoint, and the weights of all arms but the best one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from relu_search.analysis.leaderboard import FOUND_SHOWN, best_trial, ranked, rows_of
from relu_search.confirmation.trainings import weights_file
from relu_search.many_runs.run_list import state_of
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.files.durable import storage_errors

_WEIGHTS = "*.safetensors"


def unneeded_files(run: RunFolder) -> list[Path]:
    """The files that nothing needs any more; none in a run that is going on or damaged."""
    try:
        config, _ = run.read_config()
        trials = run.read_trials()
        if state_of(run, config, trials["seconds"].astype(float).tolist()) != "ended":
            return []
        files = [*_of_search(run, config, trials), *_of_confirmation(run)]
    except InputError:
        return []
    return sorted(files)


def clean(run: RunFolder) -> list[Path]:
    """Remove the files that nothing needs any more; returns them.

    Raises:
        InputError: a process is at work in the run, or a part of it is a link.
        StorageError: the disk refuses.
    """
    files = unneeded_files(run)
    if files:
        with run.lock():
            for file in files:
                with storage_errors(file):
                    file.unlink(missing_ok=True)
    return files


def _of_search(run: RunFolder, config: ResolvedConfig, trials: pd.DataFrame) -> Iterator[Path]:
    yield from _files(run.path / "checkpoints")
    whole = trials[trials["state"] == "COMPLETE"]
    first = rows_of(ranked(whole, config.optimised).drop_duplicates("placement"))
    found = [row for row in first if not row["module"]][:FOUND_SHOWN]
    kept = [*found, *(row for row in first if row["module"]), best_trial(trials, config)]
    needed = {run.trial_weights(row["trial"]) for row in kept if row is not None}
    yield from (file for file in _files(run.weights) if file not in needed)


def _of_confirmation(run: RunFolder) -> Iterator[Path]:
    if not run.table("verdict.csv").is_file():
        return
    rows = rows_of(read_table(run.table("confirm.csv")))
    finished = [row for row in rows if row["state"] == "COMPLETE"]
    if not finished or any(row["test_accuracy"] is None for row in finished):
        return
    yield from _files(run.confirm_weights / "checkpoints")
    means = pd.DataFrame(finished).groupby("placement")["test_accuracy"].mean()
    best = means.idxmax()
    needed = {
        weights_file(run, row["placement"], row["seed"])
        for row in finished
        if row["placement"] == best
    }
    yield from (file for file in _files(run.confirm_weights) if file not in needed)


def _files(folder: Path) -> list[Path]:
    """The weights in a folder; none in a link."""
    if folder.is_symlink() or folder.parent.is_symlink():
        return []
    return [file for file in folder.glob(_WEIGHTS) if file.is_file() and not file.is_symlink()]
