"""Weights & Biases: a run for the search and one for each trial, in one group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.trackers.followed import SEARCH

os.environ["WANDB_ERROR_REPORTING"] = "false"  # else faults are sent to the makers of wandb

import wandb

if TYPE_CHECKING:
    from relu_search.trackers.followed import FollowedSearch

_SETTINGS = {
    "console": "off",
    "silent": True,
    "init_timeout": 30,
    "disable_git": True,
    "disable_code": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class WandbRuns:
    """A `Tracker`. The id of a run follows from the search and the trial.

    Args:
        folder: for the files of wandb.
        name: of the search.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._runs: dict[str, wandb.Run] = {}

    def begin(self, key: str, parameters: dict[str, Any], earlier: str | None) -> str:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "relu-search"),
            group=self._name,
            job_type="search" if key == SEARCH else "trial",
            id=f"{self._name}-{key}",
            name=self._name if key == SEARCH else f"trial {key}",
            config={name: value for name, value in parameters.items() if value is not None},
            dir=self._folder,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**_SETTINGS),
        )
        self._runs[key] = run
        return str(run.path)

    def epochs(self, key: str, metrics: list[dict[str, float]]) -> None:
        for one in metrics:
            self._runs[key].log(one, step=int(one["epoch"]), commit=True)

    def files(self, key: str, files: list[Path]) -> None:
        results = wandb.Artifact(f"{self._name}-results", type="relu-search")
        for file in files:
            results.add_file(str(file))
        self._runs[key].log_artifact(results)

    def end(self, key: str, state: str, reason: str) -> None:
        run = self._runs[key]
        run.summary.update({"state": state, "reason": reason})
        run.finish(exit_code=int(state in ("FAIL", "stopped", "interrupted")))
        del self._runs[key]


def open_tracker(search: FollowedSearch, folder: Path) -> WandbRuns:
    """The runs of a search where wandb is set to send them; its files are in the run folder."""
    return WandbRuns(folder.parent, search.name)  # wandb adds its own name
