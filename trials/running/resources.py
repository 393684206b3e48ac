"""What a trial gets of a machine or cluster, and how many trials run at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces import InputError

SMALLEST_SHARE = 0.01
"""Of a CPU or GPU; Ray cannot count finer."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets and how many run at once.

    Attributes:
        cpus_per_trial: CPU cores reserved for a trial.
        gpus_per_trial: GPUs for a trial, fractions allowed; None: a quarter where the cluster has
            any, since one such small network cannot fill a GPU.
        concurrent: trials at once; None: as many as the resources allow.
        max_failures: how often a trial whose worker or node died is started again; it goes on
            from its checkpoint.

    Raises:
        InputError: a number that is not finite or too small.
    """

    cpus_per_trial: float = 1
    gpus_per_trial: float | None = None
    concurrent: int | None = None
    max_failures: int = 2

    def __post_init__(self) -> None:
        for name, value, least in (
            ("concurrent", self.concurrent, 1),
            ("max failures", self.max_failures, 0),
            ("CPUs per trial", self.cpus_per_trial, SMALLEST_SHARE),
            ("GPUs per trial", self.gpus_per_trial or SMALLEST_SHARE, SMALLEST_SHARE),
        ):
            if value is not None and not least <= value < math.inf:
                raise InputError(f"{name} is {value}; it must be at least {least}")


def plan_resources(
    resources: Resources, cluster: Mapping[str, float]
) -> tuple[dict[str, float], int]:
    """Resources of one trial in Ray's terms, and the number of trials at once.

    Raises:
        InputError: a trial asks for more than the whole cluster has; Ray would wait for ever.
    """
    cpus, gpus = cluster.get("CPU", 0), cluster.get("GPU", 0)
    gpus_per_trial = resources.gpus_per_trial
    if gpus_per_trial is None:
        gpus_per_trial = 0.25 if gpus else 0
    if resources.cpus_per_trial > cpus:
        raise InputError(
            f"{resources.cpus_per_trial:g} CPUs per trial are more than the {cpus:g} there are; "
            "lower --cpus-per-trial or connect to a larger cluster with --address"
        )
    if gpus_per_trial > gpus:
        raise InputError(
            f"{gpus_per_trial:g} GPUs per trial are more than the {gpus:g} there are; lower "
            "--gpus-per-trial or connect to a cluster with --address"
        )
    if gpus_per_trial > 1 and gpus_per_trial != int(gpus_per_trial):
        raise InputError(
            f"{gpus_per_trial:g} GPUs per trial cannot be given; above 1, "
            "--gpus-per-trial must be whole"
        )
    slots = cpus / resources.cpus_per_trial
    if gpus_per_trial:
        slots = min(slots, gpus / gpus_per_trial)
    per_trial = {"cpu": resources.cpus_per_trial, "gpu": gpus_per_trial}
    return per_trial, resources.concurrent or max(1, math.floor(slots))
