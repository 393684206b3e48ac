"""How good an order of the sites and a list of placements are, by the means of a table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks.relu_bench import Table
from benchmarks.search.gates.training import Groups
from search_spaces import Placement


@dataclass(frozen=True, eq=False)
class Truth:
    """The mean test loss of every placement of a table with at least one ReLU.

    Attributes:
        table: with one placement for each set of open gates.
        groups: the sites of each gate.
    """

    table: Table
    groups: Groups

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """(placements,) mean test loss in nats over all seeds; infinite for all-linear."""
        means = self.table.final("test_loss").mean(axis=1)
        return np.where(self.table.relus > 0, means, np.inf)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(placements,) 1 is the best."""
        return 1 + np.argsort(np.argsort(self.losses, kind="stable"), kind="stable")

    @cached_property
    def main_effects(self) -> NDArray[np.float64]:
        """(gates,) what keeping a site adds to -log(loss): least squares over all placements."""
        return self._additive[0]

    @property
    def additive_share(self) -> float:
        """Share of the variance of log(loss) that the sum of the main effects explains, 0 to 1."""
        return self._additive[1]

    @cached_property
    def _additive(self) -> tuple[NDArray[np.float64], float]:
        some = self.table.relus > 0
        bits = np.array([self._gates(placement) for placement in self.table.spec.placements])
        design = np.column_stack([np.ones(some.sum()), bits[some]])
        values = -np.log(self.losses[some])
        weights = np.linalg.lstsq(design, values, rcond=None)[0]
        return weights[1:], float(1 - (values - design @ weights).var() / values.var())

    @cached_property
    def effects_at_the_best(self) -> NDArray[np.float64]:
        """(gates,) what keeping a site adds to -log(loss), the others as in the best placement.

        All-linear counts here, as it can be next to the best placement.
        """
        values = -np.log(self.table.final("test_loss").mean(axis=1))
        best = self.table.spec.placements[int(np.argmin(self.losses))].bits
        effects = []
        for group in self.groups:
            kept, dropped = (
                "".join(bit if i in group else old for i, old in enumerate(best)) for bit in "10"
            )
            effects.append(values[self.table.row_of[kept]] - values[self.table.row_of[dropped]])
        return np.array(effects)

    def agreement(self, importance: NDArray[np.float64]) -> tuple[float, float]:
        """Kendall's tau of an importance with the main effects and those at the best placement."""
        main, best = (
            float(kendalltau(importance, effects).statistic)
            for effects in (self.main_effects, self.effects_at_the_best)
        )
        return main, best

    def best_of_first(self, placements: Sequence[Placement]) -> tuple[list[float], list[int]]:
        """Regret in nats, and rank, of the best of the first 1, 2, ... placements."""
        rows = [self.table.row_of[placement.bits] for placement in placements]
        regrets = np.minimum.accumulate(self.losses[rows]) - self.losses.min()
        return regrets.tolist(), np.minimum.accumulate(self.ranks[rows]).tolist()

    def better_of_equal_count(self, placements: Sequence[Placement]) -> float:
        """Share of the placements with as many ReLUs that are better; mean over a list.

        0 is the best of its count, and 1/2 is chance. A placement that is alone in its count is
        left out.
        """
        shares = []
        for row in (self.table.row_of[placement.bits] for placement in placements):
            rivals = np.delete(self.losses, row)[
                np.delete(self.table.relus, row) == self.table.relus[row]
            ]
            if len(rivals):
                shares.append(float((rivals < self.losses[row]).mean()))
        return float(np.mean(shares))

    def random_front(self, seed: int) -> list[Placement]:
        """A random placement for each number of open gates, from 1 to all of them."""
        rng = random.Random(seed)
        return [
            self._placement(rng.sample(range(len(self.groups)), count))
            for count in range(1, len(self.groups) + 1)
        ]

    def ascending(self, seed: int) -> list[Placement]:
        """All placements, those with the fewest ReLUs first, in random order within a count."""
        rng = random.Random(seed)
        some = [placement for placement in self.table.spec.placements if placement.kept]
        return sorted(rng.sample(some, len(some)), key=lambda placement: placement.kept)

    def _gates(self, placement: Placement) -> list[int]:
        return [int(placement.bits[group[0]]) for group in self.groups]

    def _placement(self, gates: Sequence[int]) -> Placement:
        kept = {site for gate in gates for site in self.groups[gate]}
        sites = sum(map(len, self.groups))
        return Placement("".join("1" if site in kept else "0" for site in range(sites)))
