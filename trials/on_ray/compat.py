"""Uses of Ray Tune that its documentation does not promise.

Ray documents a scheduler as an object that Ray's own controller calls with Ray's own trials. A
packed search has neither, and the rungs of a resumed search are filled before Ray starts. So ASHA
is called here, and in `asha.py`, with trials that have a `trial_id` and a `config` only, and
without a controller.
`tests/trials/on_ray/test_compat.py` checks this and says what a new version of Ray has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune.schedulers import TrialScheduler

from trials.running.proposals import Proposal


@dataclass(frozen=True)
class SchedulerTrial:
    """A trial as a scheduler sees it.

    Attributes:
        config: `number`, and where they apply `protected` and `costs` (see `Proposal`).
    """

    config: Mapping[str, Any]

    @property
    def trial_id(self) -> str:
        """The number as text; the scheduler keeps its rungs by it."""
        return str(self.config["number"])

    @classmethod
    def of(cls, proposal: Proposal) -> SchedulerTrial:
        config = {
            "number": proposal.number,
            "protected": proposal.protected,
            "costs": proposal.costs,
        }
        return cls(config)


_NO_CONTROLLER = None


def add_trial(scheduler: TrialScheduler, trial: SchedulerTrial) -> None:
    """Tell a scheduler of a new trial."""
    scheduler.on_trial_add(_NO_CONTROLLER, trial)


def report(scheduler: TrialScheduler, trial: SchedulerTrial, result: Mapping[str, float]) -> bool:
    """Tell a scheduler the metrics of an epoch; whether the trial continues."""
    decision = scheduler.on_trial_result(_NO_CONTROLLER, trial, dict(result))
    return bool(decision == TrialScheduler.CONTINUE)


def remove_trial(scheduler: TrialScheduler, trial: SchedulerTrial) -> None:
    """Tell a scheduler that a trial has ended. Its values stay at the rungs."""
    scheduler.on_trial_remove(_NO_CONTROLLER, trial)


def node_resources() -> list[dict[str, float]]:
    """The resources of each living node of the cluster, such as `{"CPU": 2, "GPU": 1}`.

    `ray.nodes` is for developers only; the documented `ray.cluster_resources` has totals.
    """
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
