"""Writes the run folder while a search runs: rows of its tables, and the best model so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from relu_search.analysis.early_stops import AUDIT
from relu_search.analysis.leaderboard import best_trial
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.export.from_run import export_trial
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.study import AUDIT_ATTRIBUTE, LATENCY_ATTRIBUTE, history_of
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.trackers.listener import Listeners
from search_spaces import InputError, Placement
from trials.files.durable import StorageError
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics


class RunRecorder:
    """Keeps the run folder up to date, and then tells the listeners.

    Args:
        run: written.
        config: of the search.
        facts: of its placements.
        listeners: of the search.

    Attributes:
        best_trial: row of the best trial so far, as in `trials.csv`; None before there is one.
        full_length: rows of the full-length trials so far.
    """

    def __init__(
        self,
        run: RunFolder,
        config: ResolvedConfig,
        facts: PlacementFacts,
        listeners: Listeners,
    ) -> None:
        self.best_trial: dict[str, Any] | None = None
        self._run = run
        self._config = config
        self._facts = facts
        self._listeners = listeners
        self.full_length: list[dict[str, Any]] = []
        self._exported: int | None = None

    def restart(self, finished: list[FrozenTrial]) -> None:
        """Write both tables from the study, which decides what has happened.

        Epochs of trials that were running are left out: those trials report them again.

        Raises:
            InputError: the study lacks trials that `trials.csv` has.
        """
        self._require_nothing_lost({trial.number for trial in finished})
        epochs = [
            {"trial": trial.number, **metrics}
            for trial in finished
            for metrics in history_of(trial)
        ]
        rows = [self._row(trial) for trial in finished]
        is_resumed = self._run.table("trials.csv").is_file()
        self._run.start_tables(rows, epochs)
        self._run.add_event("search resumed" if is_resumed else "search begun")
        self.full_length[:] = [row for row in rows if row["state"] == TrialState.COMPLETE.name]
        self._update_best()

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
        self._run.add_event("trial started", proposal.number, proposal.spec.placement.text)
        row = {
            "trial": proposal.number,
            "module": self._config.name_of(proposal.spec.placement),
            **self._facts.of(proposal.spec.placement),
            "seed": proposal.spec.seed,
        }
        self._listeners.tell("started", row)

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._run.add_epoch({"trial": number, **metrics.to_json()})
        self._listeners.tell("epoch", number, metrics)

    def finished(self, trial: FrozenTrial) -> None:
        """Write the row; a full-length trial may change which trial is best."""
        row = self._row(trial)
        self._run.add_trial(row)
        self._run.add_event("trial ended", trial.number, row["placement"])
        if trial.state == TrialState.COMPLETE:
            before = self.best_trial
            self.full_length.append(row)
            self._update_best()
            best = self.best_trial
            if best and (before is None or before["placement"] != best["placement"]):
                self._run.add_event("new best", best["trial"], best["placement"])
        self._listeners.tell("finished", row)

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
            **_latency(trial),
            "back_end": self._config.back_end,
            "start": self._config.start_text,
            "reason": _reason(trial),
        }

    def _update_best(self) -> None:
        """Rank the full-length trials, and export the best one if it is another than before.

        One fit of the model per full-length trial is needed: each changes all estimates. A model
        whose weights are not on this machine is not exported.
        """
        if not self.full_length:
            return
        self.best_trial = best_trial(pd.DataFrame(self.full_length), self._config)
        if self.best_trial is None or self.best_trial["trial"] == self._exported:
            return
        if self._run.trial_weights(self.best_trial["trial"]).is_file():
            try:
                export_trial(self._run, self._config, self.best_trial, self._run.best)
            except InputError as error:
                if isinstance(error.__cause__, OSError):  # the disk refuses, not the user's input
                    raise StorageError(str(error)) from error
                raise
            self._exported = self.best_trial["trial"]


def _latency(trial: FrozenTrial) -> dict[str, float | None]:
    """The columns of the latency; None without the objective."""
    timing = trial.user_attrs.get(LATENCY_ATTRIBUTE, {})
    names = {"latency_ms": "median_ms", "latency_q25_ms": "q25_ms", "latency_q75_ms": "q75_ms"}
    return {column: timing.get(name) for column, name in names.items()}


def _reason(trial: FrozenTrial) -> str:
    """Why a trial failed or the time budget ended it, or that it is an audit."""
    if trial.state != TrialState.COMPLETE:
        return str(trial.user_attrs.get("reason", ""))
    if AUDIT_ATTRIBUTE in trial.user_attrs:
        return f"{AUDIT}: would have been stopped after epoch {trial.user_attrs[AUDIT_ATTRIBUTE]}"
    return ""
