"""Which trials a rung would stop if there are several objectives. Ray has no rule for them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trials.early_stopping.rule import EarlyStopping


@dataclass(frozen=True)
class ParetoHalving:
    """Asynchronous successive halving by non-dominated rank (MOASHA, arXiv:2106.12639).

    A trial passes a rung if it is among the best `1 / reduction_factor` of the trials that have
    reached it, itself included. The order is by Pareto front, and within a front by NSGA-II's
    crowding distance, the largest first.
    """

    stopping: EarlyStopping
    _rungs: dict[int, dict[str, tuple[float, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rungs.update((rung, {}) for rung in self.stopping.rungs)

    def goes_on(self, trial: str, epoch: int, signal: float, costs: tuple[float, ...]) -> bool:
        """Whether a trial passes the highest rung it has reached; it is judged there only once.

        Args:
            trial: its name.
            epoch: that it has finished.
            signal: value after this epoch, smaller is better.
            costs: further objectives, smaller is better.
        """
        reached = [rung for rung in self._rungs if rung <= epoch]
        if not reached or trial in self._rungs[max(reached)]:
            return True
        rung = self._rungs[max(reached)]
        rung[trial] = (signal if math.isfinite(signal) else math.inf, *costs)
        order = pareto_order(list(rung.values()))
        place = order.index(len(order) - 1)
        return place < math.ceil(len(order) / self.stopping.reduction_factor)


def pareto_order(values: list[tuple[float, ...]]) -> list[int]:
    """Indices of the points, the best first; every objective is minimised."""
    left = list(range(len(values)))
    order: list[int] = []
    while left:
        front = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        in_front = set(front)
        order += sorted(front, key=_crowding(values, front).__getitem__, reverse=True)
        left = [i for i in left if i not in in_front]
    return order


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether a is smaller than b in one objective at least, and larger in none."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _crowding(values: list[tuple[float, ...]], front: list[int]) -> dict[int, float]:
    """NSGA-II's crowding distance of each point of a front; infinite at the ends."""
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
