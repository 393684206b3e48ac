"""Ray's ASHA, extended by protected trials and several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from trials.on_ray.compat import SchedulerTrial, add_trial, remove_trial, report
from trials.running.early_stopping import EarlyStopping, ParetoHalving, PastTrial


def scheduler_of(stopping: EarlyStopping, past: Sequence[PastTrial] = ()) -> TrialScheduler:
    """A new scheduler. Its rungs hold the values of earlier trials already.

    Args:
        stopping: the rule.
        past: earlier trials.
    """
    scheduler = _ProtectingASHA(stopping)
    for i, earlier in enumerate(past):
        trial = SchedulerTrial({"number": f"past-{i}", "costs": earlier.costs})
        add_trial(scheduler, trial)
        for epoch in sorted(earlier.curve):
            if epoch < stopping.max_epochs:
                report(scheduler, trial, {"epoch": epoch, stopping.metric: earlier.curve[epoch]})
        remove_trial(scheduler, trial)
    return scheduler


class _ProtectingASHA(ASHAScheduler):  # type: ignore[misc]
    """ASHA that records the metrics of protected trials but never stops them.

    It knows trials by the proposer's numbers, so that a restarted trial is the same trial at its
    rungs. Trials with costs are judged by `ParetoHalving` instead of ASHA.
    """

    def __init__(self, stopping: EarlyStopping) -> None:
        super().__init__(
            time_attr="epoch",
            metric=stopping.metric,
            mode=stopping.mode,
            max_t=stopping.max_epochs,
            grace_period=min(stopping.grace_epochs, stopping.max_epochs),
            reduction_factor=stopping.reduction_factor,
        )
        self.stopping = stopping
        self.pareto = ParetoHalving(stopping)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _numbered(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, _numbered(trial), result)
        if result["epoch"] >= self.stopping.max_epochs:
            return decision
        costs, metric = tuple(trial.config.get("costs", ())), result.get(self.stopping.metric)
        if costs and metric is not None:
            number = str(trial.config["number"])
            passes = self.pareto.goes_on(number, result["epoch"], float(metric), costs)
            decision = TrialScheduler.CONTINUE if passes else TrialScheduler.STOP
        return TrialScheduler.CONTINUE if trial.config.get("protected") else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _numbered(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _numbered(trial))


def _numbered(trial: Any) -> SchedulerTrial:
    """One of Ray's trials, or of ours, with the proposer's number as its id."""
    return SchedulerTrial(trial.config)
