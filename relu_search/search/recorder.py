"""Writes the run folder while a search runs: rows as they come, and the best model so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from relu_search.analysis.leaderboard import best_trial
from relu_search.analysis.placement_facts import TrialFacts
from relu_search.export.from_run import export_trial
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.study import history_of
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError, Placement
from trials.files.durable import StorageError
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics


class RunRecorder:
    """A `SearchListener` that keeps the run folder up to date."""

    def __init__(self, run: RunFolder, config: ResolvedConfig, facts: TrialFacts) -> None:
        self._run = run
        self._config = config
        self._facts = facts
        self._best: int | None = None

    def restart(self, finished: list[FrozenTrial]) -> None:
        """Write both tables from the study, which is the truth.

        Epochs of trials that were running are left out: those trials report them anew.

        Raises:
            InputError: the study lacks trials that `trials.csv` has.
        """
        self._require_nothing_lost({trial.number for trial in finished})
        epochs = [
            {"trial": trial.number, **metrics}
            for trial in finished
            for metrics in history_of(trial)
        ]
        self._run.start_tables([self._row(trial) for trial in finished], epochs)
        self._export_best()

    def _require_nothing_lost(self, known: set[int]) -> None:
        try:
            recorded = set(self._run.read_trials()["trial"])
        except InputError:  # there is no table yet, or a damaged one, which is written anew
            return
        lost = sorted(recorded - known)
        if lost:
            raise InputError(
                f"the study of {self._run.path} lacks {len(lost)} trials that trials.csv has, such "
                f"as number {lost[0]}; restore the study, or move trials.csv away to go on without "
                "them"
            )

    def started(self, proposal: Proposal) -> None:
        """Nothing to write yet."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._run.add_epoch({"trial": number, **metrics.to_json()})

    def finished(self, trial: FrozenTrial) -> None:
        self._run.add_trial(self._row(trial))
        if trial.state == TrialState.COMPLETE:
            self._export_best()

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        history = history_of(trial)
        last: Mapping[str, Any] = history[-1] if history else {}
        return {
            "trial": trial.number,
            "state": trial.state.name,
            "module": trial.user_attrs["module"],
            **self._facts.of(Placement.parse(trial.user_attrs["placement"])),
            "seed": trial.user_attrs["seed"],
            "epochs": last.get("epoch", 0),
            "val_accuracy": last.get("val_accuracy"),
            "val_loss": last.get("val_loss"),
            "train_loss": last.get("train_loss"),
            "seconds": round(sum(metrics["seconds"] for metrics in history), 3),
            "back_end": self._config.back_end,
            "reason": trial.user_attrs.get("reason", "") if trial.state == TrialState.FAIL else "",
        }

    def _export_best(self) -> None:
        """Export the best trial when it has changed and its weights are on this machine."""
        best = best_trial(self._run.read_trials(), self._config)
        if best is None or best["trial"] == self._best:
            return
        if self._run.trial_weights(best["trial"]).is_file():
            try:
                export_trial(self._run, best, self._run.best)
            except InputError as error:
                if isinstance(error.__cause__, OSError):  # the disk, not the user
                    raise StorageError(str(error)) from error
                raise
            self._best = best["trial"]
