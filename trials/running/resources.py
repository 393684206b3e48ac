"""The CPUs and GPUs of one trial, and how many trials run at once on the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from search_spaces import InputError
from search_spaces.errors import shown

Node = Mapping[str, float]
"""Resources of one node in Ray's terms, such as `{"CPU": 2, "GPU": 1}`."""

GpusPerTrial: TypeAlias = float | Literal["auto"] | None
"""GPUs of a trial; see `Resources`."""

_UNITS = 10_000
"""Ray counts resources in steps of 0.0001; whole numbers of steps divide without rounding."""

SMALLEST_SHARE = 0.01
"""The smallest part of a CPU or GPU that a trial may ask for."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets, and how many run at once.

    Attributes:
        cpus_per_trial: CPU cores of a trial.
        gpus_per_trial: GPUs of a trial: a fraction of one GPU, or a whole number. None: a quarter
            if the cluster has GPUs, else none (one such small network does not fill a GPU). `auto`:
            as much as a measurement finds; until then one GPU if the cluster has GPUs, else none.
        concurrent: trials at once; None: as many as fit.
        max_failures: restarts of a trial whose worker or node died; it continues from its
            checkpoint.

    Raises:
        InputError: a number that is not finite or too small.
    """

    cpus_per_trial: float = 1
    gpus_per_trial: GpusPerTrial = None
    concurrent: int | None = None
    max_failures: int = 2

    def __post_init__(self) -> None:
        gpus = None if self.gpus_per_trial == "auto" else self.gpus_per_trial
        if isinstance(gpus, str):
            raise InputError(f"GPUs per trial is {gpus!r:.60}; it must be auto or a number")
        for name, value, least in (
            ("concurrent", self.concurrent, 1),
            ("max failures", self.max_failures, 0),
            ("CPUs per trial", self.cpus_per_trial, SMALLEST_SHARE),
            ("GPUs per trial", gpus or SMALLEST_SHARE, SMALLEST_SHARE),
        ):
            if value is not None and not least <= value < math.inf:
                raise InputError(
                    f"{name} is {shown(value)}; it must be a finite number, at least {least}"
                )


def plan_resources(resources: Resources, nodes: Sequence[Node]) -> tuple[dict[str, float], int]:
    """The resources of one trial in Ray's terms, and the number of trials at once.

    Args:
        nodes: resources of each node. A trial runs on one node, and a fraction of a GPU is part of
            one GPU, so what is left over on several nodes or GPUs cannot be put together.

    Raises:
        InputError: a trial fits on no node. Ray would wait for ever.
    """
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if gpus is None or gpus == "auto":
        of_each = 0.25 if gpus is None else 1
        gpus = of_each if _total(nodes, "GPU") else 0
    _require_enough("CPU", cpus, nodes, "connect to a larger cluster with --address")
    _require_enough("GPU", gpus, nodes, "connect to a cluster with --address")
    if gpus > 1 and gpus != int(gpus):
        raise InputError(
            f"{gpus:g} GPUs per trial cannot be given; above 1, --gpus-per-trial must be whole"
        )
    slots = sum(_slots(node, cpus, gpus) for node in nodes)
    if not slots:
        raise InputError(
            f"{cpus:g} CPUs and {gpus:g} GPUs per trial are on no single node (largest: "
            f"{max(node.get('CPU', 0) for node in nodes):g} CPUs, "
            f"{max(node.get('GPU', 0) for node in nodes):g} GPUs); lower --cpus-per-trial or "
            "--gpus-per-trial"
        )
    return {"cpu": cpus, "gpu": gpus}, resources.concurrent or slots


def _require_enough(what: str, asked: float, nodes: Sequence[Node], way_out: str) -> None:
    """Check one resource against the whole cluster."""
    if asked > (total := _total(nodes, what)):
        raise InputError(
            f"{asked:g} {what}s per trial are more than the {total:g} there are; lower "
            f"--{what.lower()}s-per-trial or {way_out}"
        )


def _total(nodes: Sequence[Node], what: str) -> float:
    return sum(node.get(what, 0) for node in nodes)


def _slots(node: Node, cpus: float, gpus: float) -> int:
    """How many trials fit on a node at once."""
    by_cpus = _steps(node.get("CPU", 0)) // _steps(cpus)
    if not gpus:
        return by_cpus
    whole_gpus = int(node.get("GPU", 0))
    if gpus <= 1:
        return min(by_cpus, whole_gpus * (_UNITS // _steps(gpus)))
    return min(by_cpus, whole_gpus // int(gpus))


def _steps(amount: float) -> int:
    return round(amount * _UNITS)
