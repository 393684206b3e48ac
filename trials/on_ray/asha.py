"""Ray's ASHA, which stops trials only at rungs that predict the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from trials.early_stopping.pareto_halving import ParetoHalving
from trials.early_stopping.rule import EarlyStopping, PastTrial
from trials.early_stopping.rung_evidence import SearchEvidence
from trials.on_ray.compat import SchedulerTrial, add_trial, remove_trial, report

SIGNAL = "signal"
"""Ray's name of what is compared at the rungs; smaller is better."""


def scheduler_of(stopping: EarlyStopping, past: Sequence[PastTrial] = ()) -> TrialScheduler:
    """A new scheduler. Its rungs hold the values of earlier trials already.

    Args:
        stopping: the rule.
        past: earlier trials.
    """
    scheduler = _EarnedASHA(stopping)
    for earlier in past:
        trial = SchedulerTrial(
            {
                "number": earlier.number,
                "placement": earlier.placement,
                "costs": earlier.costs,
                "protected": True,
            }
        )
        add_trial(scheduler, trial)
        for metrics in earlier.history:
            report(scheduler, trial, metrics)
        remove_trial(scheduler, trial)
    return scheduler


class _EarnedASHA(ASHAScheduler):  # type: ignore[misc]
    """ASHA that stops a trial only where `SearchEvidence` allows it.

    Protected trials and audits train to the end; their metrics count. A trial is judged once at
    each rung. An epoch that it has passed before an interruption is not judged again. The scheduler
    knows trials by the proposer's numbers, so that a restarted trial is the same trial at its
    rungs. Trials with costs are judged by `ParetoHalving` instead of ASHA.
    """

    def __init__(self, stopping: EarlyStopping) -> None:
        super().__init__(
            time_attr="epoch",
            metric=SIGNAL,
            mode="min",
            max_t=stopping.max_epochs,
            grace_period=min(stopping.grace_epochs, stopping.max_epochs),
            reduction_factor=stopping.reduction_factor,
        )
        self.stopping = stopping
        self.pareto = ParetoHalving(stopping)
        self.evidence = SearchEvidence(stopping)
        self.audits: set[int] = set()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _numbered(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        mine, number, epoch = _numbered(trial), int(trial.config["number"]), result["epoch"]
        if self.stopping.metric not in result:  # a failure
            return str(super().on_trial_result(tune_controller, mine, result))
        costs = tuple(trial.config.get("costs", ()))
        is_at_rung = self.evidence.is_new_at_rung(number, epoch)
        signal = self.evidence.add(number, trial.config["placement"], result, costs)
        if epoch < self.stopping.max_epochs and not is_at_rung:
            # Of several milestones between two epochs Ray meets one at the rung, others later.
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, mine, {**result, SIGNAL: signal})
        if epoch >= self.stopping.max_epochs:
            return str(decision)
        wants_stop = decision == TrialScheduler.STOP
        if costs:
            wants_stop = not self.pareto.goes_on(mine.trial_id, epoch, signal, costs)
        if wants_stop and self._may_stop(trial.config, number, epoch):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """For Ray's snapshots, from which nothing is ever restored."""
        return {}

    def _may_stop(self, config: Mapping[str, Any], number: int, epoch: int) -> bool:
        if config.get("protected") or epoch < config.get("passed", 0):
            return False
        if not self.evidence.may_stop(number, epoch):
            return False
        if not self.stopping.is_audit(number):
            return True
        if number not in self.audits:
            self.audits.add(number)
            self.stopping.on_audit(number, epoch)
        return False

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _numbered(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _numbered(trial))


def _numbered(trial: Any) -> SchedulerTrial:
    """One of Ray's trials, or of ours, with the proposer's number as its id."""
    return SchedulerTrial(trial.config)
