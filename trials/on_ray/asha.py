"""Ray's ASHA, with protected trials and several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from trials.running.early_stopping import EarlyStopping, ParetoHalving, PastTrial


def scheduler_of(stopping: EarlyStopping, past: Sequence[PastTrial] = ()) -> TrialScheduler:
    """A fresh scheduler whose rungs already hold the values of earlier trials.

    Args:
        stopping: the rule.
        past: earlier trials; those with costs make it a rule for several objectives.
    """
    scheduler = _ProtectingASHA(
        time_attr="epoch",
        metric=stopping.metric,
        mode=stopping.mode,
        max_t=stopping.max_epochs,
        grace_period=min(stopping.grace_epochs, stopping.max_epochs),
        reduction_factor=stopping.reduction_factor,
    )
    scheduler.pareto = ParetoHalving(stopping)
    for i, earlier in enumerate(past):
        trial = SimpleNamespace(config={"number": f"past-{i}", "costs": earlier.costs})
        scheduler.on_trial_add(None, trial)
        for epoch in sorted(earlier.curve):
            if epoch < stopping.max_epochs:
                result = {"epoch": epoch, stopping.metric: earlier.curve[epoch]}
                scheduler.on_trial_result(None, trial, result)
        scheduler.on_trial_remove(None, trial)
    return scheduler


class _ProtectingASHA(ASHAScheduler):  # type: ignore[misc]
    """ASHA that records what protected trials report but lets them run to the end.

    It knows trials by our numbers, so that one which is started again stays the same at its rungs.
    Trials that have costs are judged by `ParetoHalving` instead.
    """

    pareto: ParetoHalving

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _numbered(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, _numbered(trial), result)
        epoch, costs = result["epoch"], tuple(trial.config.get("costs", ()))
        if costs and epoch < self._max_t and self._metric in result:
            number, metric = str(trial.config["number"]), float(result[self._metric])
            passes = self.pareto.goes_on(number, epoch, metric, costs)
            decision = TrialScheduler.CONTINUE if passes else TrialScheduler.STOP
        if trial.config.get("protected") and result["epoch"] < self._max_t:
            return TrialScheduler.CONTINUE
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _numbered(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _numbered(trial))


def _numbered(trial: Any) -> SimpleNamespace:
    """A trial as ASHA sees it."""
    return SimpleNamespace(trial_id=str(trial.config["number"]), config=trial.config)
