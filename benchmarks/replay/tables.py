"""The tables that searches are replayed against, and what counts as good on each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench import SyntheticTable, Table, load, load_synthetic
from benchmarks.relu_bench.specs import SIXTY_SITES
from benchmarks.relu_bench.synthetic import TRUTH, points_of

TURNED = "plain-12-turned"
"""plain-12, each placement with the results of another: its bits exclusive-ored by a mask."""
TABLES = (TURNED, "preresnet-8", "plain-20-colour", SIXTY_SITES.name, "plain-12")
_SEEDS = 400
_TOP = 0.05
_DRAWN = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A table as one replay sees it.

    A training of a placement is one of those that were recorded, drawn with replacement. So there
    are as many seeds as a search asks for, and the mean over the recorded ones is the exact truth.
    The trainings of a synthetic table are made with a new seed each.

    Attributes:
        table: recorded trainings, or a synthetic table.
        seeds: of the table, in the order of use.
        min_relus: fewest ReLUs of a result.
        has_modules: whether hand-designed modules mean anything on this table.
        best: truth of the best placement, in nats of test loss.
        limit: a placement with at most this truth is in the target: among the best 5 %, or within
            two standard errors of the best mean, whichever is more.
    """

    table: Table | SyntheticTable
    seeds: Sequence[int]
    min_relus: int
    has_modules: bool
    best: float
    limit: float

    def truth(self, row: int) -> float:
        """Test loss of a placement in nats: mean of all its recorded trainings."""
        if isinstance(self.table, SyntheticTable):
            return float(self.table.truth(points_of([self.table.bits_of(row)]))[0])
        return float(self.table.final(TRUTH)[row].mean())

    def admits(self, row: int) -> bool:
        """Whether a placement may be the result."""
        return self.table.bits_of(row).count("1") >= self.min_relus


def ground_of(name: str, seed: int) -> Ground:
    """A table of `TABLES` as the replay with this seed sees it."""
    rng = random.Random(f"{name} {seed}")
    if name == SIXTY_SITES.name:
        return _synthetic(rng)
    table = load("plain-12" if name == TURNED else name)
    seeds = rng.choices(range(table.spec.seeds), k=_SEEDS)
    if name == TURNED:
        table = turned(table, rng.randrange(len(table.spec.placements)))
    min_relus = 0 if name == TURNED else 1
    losses = table.final(TRUTH)[table.relus >= min_relus]
    means = np.sort(losses.mean(axis=1))
    return Ground(
        table=table,
        seeds=seeds,
        min_relus=min_relus,
        has_modules=name != TURNED,
        best=float(means[0]),
        limit=_limit(means, losses),
    )


def turned(table: Table, mask: int) -> Table:
    """The table of a space of single sites in which each placement has the results of another one.

    Args:
        mask: exclusive-ored with the bits of a placement, it gives those of the other one.
    """
    rows = np.arange(len(table.spec.placements)) ^ mask  # all placements, in order of their bits
    metrics = {name: values[rows] for name, values in table.metrics.items()}
    return replace(table, metrics=metrics, seconds=table.seconds[rows])


def _limit(means: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """The target's limit; the standard error is that of the means of the best quarter."""
    top = float(means[max(1, round(_TOP * len(means))) - 1])
    good = losses[losses.mean(axis=1) <= np.quantile(means, 0.25)]
    error = float(np.sqrt(good.var(axis=1, ddof=1).mean() / good.shape[1]))
    return max(top, float(means[0]) + 2 * error)


def _synthetic(rng: random.Random) -> Ground:
    """The synthetic table, with new seeds."""
    table = load_synthetic()
    first = rng.randrange(2**30)
    return Ground(
        table=table,
        seeds=range(first, first + _SEEDS),
        min_relus=1,
        has_modules=True,
        best=table.best[1],
        limit=_synthetic_limit(),
    )


@cache
def _synthetic_limit() -> float:
    """The target's limit: the best 5 % of a large uniform sample of placements."""
    table = load_synthetic()
    points = np.random.default_rng(0).integers(2, size=(_DRAWN, len(table.best[0])))
    return float(np.quantile(table.truth(points), _TOP))
