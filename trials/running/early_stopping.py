"""When a trial is stopped early: the rule as plain data, and its form for several objectives.

Ray's own ASHA decides where there is one objective; Ray has nothing for several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Asynchronous successive halving (arXiv:1810.05934) on our own epoch count.

    Attributes:
        metric, mode: what is compared at a rung, and which way is better.
        max_epochs: full length of a trial, in epochs.
        grace_epochs: no trial is stopped before so many epochs.
        reduction_factor: about one trial in so many passes a rung.
    """

    metric: str
    mode: Literal["max", "min"]
    max_epochs: int
    grace_epochs: int
    reduction_factor: float = 3


@dataclass(frozen=True, kw_only=True)
class PastTrial:
    """A trial of an earlier process, for rungs that must be filled again.

    Attributes:
        curve: epoch -> metric.
        costs: as of its `Proposal`.
    """

    curve: Mapping[int, float]
    costs: tuple[float, ...] = ()


@dataclass(frozen=True)
class ParetoHalving:
    """Asynchronous successive halving by non-dominated rank (MOASHA, arXiv:2106.12639).

    A trial passes a rung if it is among the best `1 / reduction_factor` of those that were there,
    itself included: first by the number of Pareto fronts before its own, then, within a front, the
    lonelier first (NSGA-II's crowding distance).
    """

    stopping: EarlyStopping
    _rungs: dict[int, dict[str, tuple[float, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        rung = float(min(self.stopping.grace_epochs, self.stopping.max_epochs))
        while rung < self.stopping.max_epochs:
            self._rungs[int(rung)] = {}
            rung *= self.stopping.reduction_factor

    def goes_on(self, trial: str, epoch: int, metric: float, costs: tuple[float, ...]) -> bool:
        """Record a trial at the highest rung it has reached, once; whether it passes."""
        reached = [rung for rung in self._rungs if rung <= epoch]
        if not reached or trial in self._rungs[max(reached)]:
            return True
        rung = self._rungs[max(reached)]
        loss = -metric if self.stopping.mode == "max" else metric
        rung[trial] = (loss if math.isfinite(loss) else math.inf, *costs)
        order = pareto_order(list(rung.values()))
        place = order.index(len(order) - 1)
        return place < math.ceil(len(order) / self.stopping.reduction_factor)


def pareto_order(values: list[tuple[float, ...]]) -> list[int]:
    """Indices, best first; every objective is minimised."""
    left = list(range(len(values)))
    order: list[int] = []
    while left:
        front = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        order += sorted(front, key=_crowding(values, front).__getitem__, reverse=True)
        left = [i for i in left if i not in set(front)]
    return order


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether a is nowhere larger than b, and somewhere smaller."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _crowding(values: list[tuple[float, ...]], front: list[int]) -> dict[int, float]:
    """Sum over objectives of the gap between a point's neighbours; infinite at the ends."""
    distance = dict.fromkeys(front, 0.0)
    for objective in range(len(values[0])):
        line = sorted(front, key=lambda i: values[i][objective])
        low, high = values[line[0]][objective], values[line[-1]][objective]
        distance[line[0]] = distance[line[-1]] = math.inf
        if not 0 < high - low < math.inf:
            continue
        for before, here, after in zip(line, line[1:], line[2:], strict=False):
            gap = values[after][objective] - values[before][objective]
            distance[here] += gap / (high - low)
    return distance
