"""Uses of Ray that its documentation does not promise.

Ray documents a scheduler as an object that Ray's own controller calls with Ray's own trials. A
packed search has neither, and the rungs of a resumed search are filled before Ray starts. So ASHA
is called here, and in `asha.py`, with trials that have a `trial_id` and a `config` only, and
without a controller.
The processes that a private Ray does not need are left out here, and the logs of dead ones are
found.
`tests/trials/on_ray/test_compat.py` checks this and says what a new version of Ray has changed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray._private.node import Node as RayNode
from ray.tune.schedulers import TrialScheduler

from trials.running.proposals import Proposal


@dataclass(frozen=True)
class SchedulerTrial:
    """A trial as a scheduler sees it.

    Attributes:
        config: `number`, the text of the `placement`, and where they apply `protected`, `costs` and
            `passed` (see `Proposal`).
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
            "placement": proposal.spec.placement.text,
            "protected": proposal.protected,
            "costs": proposal.costs,
            "passed": proposal.passed,
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


def error_of(trial: Any) -> str:
    """The text of the error by which a trial of Ray Tune has ended; empty if there is none."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        return Path(trial.error_file).read_text(errors="replace")
    return ""


def death_of(error: str) -> str:
    """How the process of an actor has died: the reason of a failed trial.

    The log of the process, which is on this machine if the process was, has a line about a signal
    that could be caught.

    Args:
        error: text of Ray's error, which names the process.
    """
    signals = re.findall(r"receives a (SIG[A-Z]+)", error)
    processes = re.findall(r"pid[:=] ?(\d+)", error)
    if processes and ray.is_initialized():
        logs = Path(ray._private.worker._global_node.get_logs_dir_path())
        for log in logs.glob(f"worker-*-{processes[-1]}.err"):
            text = log.read_text(errors="replace")
            signals += re.findall(r"^\*\*\* (SIG[A-Z]+) received", text, re.MULTILINE)
    if signals:
        return f"the worker process died by {signals[-1]}"
    if "running low on memory" in error:
        return "Ray ended the worker process, as its machine had too little memory"
    return "the worker process died before it could say why, as by SIGKILL"


UNNEEDED = ("start_monitor", "start_log_monitor", "start_api_server")
"""Methods of Ray's node that start its autoscaler, log monitor and web server."""


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Within the block, `ray.init` starts a Ray without autoscaler, log monitor and web server.

    Each of them imports Ray before the first worker can start, and the autoscaler takes a second to
    stop. `ray.init` has no argument for this. A version of Ray without these methods starts as it
    is.
    """
    with contextlib.ExitStack() as stack:
        for name in UNNEEDED:
            if hasattr(RayNode, name):
                stack.enter_context(mock.patch.object(RayNode, name, _start_nothing))
        yield


def _start_nothing(_node: RayNode, **_options: Any) -> None:
    pass
