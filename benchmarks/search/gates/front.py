"""From the path of the gates to an order of the sites, and to one placement for each count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.gates.training import GatePath, Groups, Penalty
from search_spaces import Placement


@dataclass(frozen=True)
class Ranking:
    """What one training with gates says of the sites.

    Attributes:
        path: (steps, gates), every gate after every step.
        penalty: under which it was trained.
        groups: the sites of each gate.
    """

    path: GatePath
    penalty: Penalty
    groups: Groups

    @property
    def closed_at(self) -> NDArray[np.int64]:
        """(gates,): step after which a gate stayed below 1/2; the number of steps: never."""
        steps = len(self.path)
        last_open = steps - np.argmax(self.path[::-1] >= 0.5, axis=0)
        return np.where((self.path >= 0.5).any(axis=0), last_open, 0)

    @property
    def penalty_at_closing(self) -> NDArray[np.float64]:
        """(gates,): nats of the penalty when a gate closed; infinite: it did not close."""
        steps = len(self.path)
        return np.array(
            [self.penalty.at(s / steps) if s < steps else np.inf for s in self.closed_at]
        )

    @property
    def importance(self) -> NDArray[np.float64]:
        """(gates,): larger for a gate that is to be kept longer.

        With a penalty, the step at which it closed; gates that closed at the same step, or never,
        are compared by where they end. Without a penalty, where it ends.
        """
        end = self.path[-1].astype(float)
        return self.closed_at + end if self.penalty.first else end

    @property
    def front(self) -> list[Placement]:
        """Nested placements, one for each number of open gates from 1 to all of them."""
        return front(np.argsort(-self.importance, kind="stable"), self.groups)


def front(order: NDArray[np.int64], groups: Groups) -> list[Placement]:
    """The first 1, 2, ... groups of an order, as placements.

    Args:
        order: gates, the one that is kept longest first.
    """
    bits = ["0"] * sum(map(len, groups))
    placements = []
    for gate in order:
        for site in groups[gate]:
            bits[site] = "1"
        placements.append(Placement("".join(bits)))
    return placements
