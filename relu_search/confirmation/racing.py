"""Racing: arms that can no longer win get no more seeds.

The rule uses validation accuracy only. The level of each look depends on the number of seeds alone,
and the levels of all looks add up to 0.05. So seeds can be added without more risk.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from relu_search.confirmation.arms import PAIRED
from relu_search.confirmation.verdict_rule import LEVEL
from relu_search.statistics.far_runs import far_runs
from relu_search.statistics.paired_tests import Scores

FIRST_RACE = 6
"""Number of seeds that every arm gets before an arm can be dropped."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """An arm that gets no more seeds.

    Attributes:
        after: number of seeds that all racing arms had in common.
        bound: one-sided upper bound of its mean difference from the leading arm, below 0;
            accuracies in 0 to 1.
    """

    name: str
    after: int
    bound: float


def newly_dropped(
    scores: Mapping[str, Scores],
    *,
    designed: Collection[str],
    dropped: Collection[str],
    planned_seeds: int,
) -> list[Dropped]:
    """Arms that can no longer win. Paired and the best hand-designed module are never dropped.

    Args:
        scores: arm -> its validation accuracies so far, paired included.
        designed: names of the arms that are hand-designed modules, paired included.
        dropped: arms that were dropped before.
        planned_seeds: of the whole confirmation.
    """
    racing = {name: of_arm for name, of_arm in scores.items() if name not in dropped}
    found: list[Dropped] = []
    while True:
        shared = set.intersection(*map(set, racing.values()))
        if len(shared) >= planned_seeds:
            return found  # there are no more seeds to save
        best = max(
            (name for name in racing if name in designed),
            key=lambda name: sum(racing[name][seed] for seed in shared),
        )
        out = losers(racing, protected=frozenset({PAIRED, best}))
        if not out:
            return found
        for name, bound in out.items():
            found.append(Dropped(name=name, after=len(shared), bound=bound))
            del racing[name]  # the remaining arms may have more seeds in common


def losers(arms: Mapping[str, Scores], *, protected: frozenset[str]) -> dict[str, float]:
    """Arms that can no longer win, each with the upper bound of its difference from the leader.

    A sequential test: after every seed from the sixth on, an arm is dropped when the one-sided
    upper t bound of its paired difference from the leading arm is below zero. The level at n seeds
    is 0.05 * 5 * (1 / (n - 1) - 1 / n), divided by the number of challengers (Bonferroni). These
    levels add up to 0.05, so the best arm is dropped in at most 5 % of confirmations. Where single
    runs lie far from the others, the bound is raised by what missed ones would change (`far_runs`).

    Args:
        arms: arm -> its scores so far, for the arms that still race.
        protected: arms that are never dropped: the references of the comparison.
    """
    shared = set.intersection(*(set(scores) for scores in arms.values())) if arms else set()
    if len(shared) < FIRST_RACE or len(arms) < 2:
        return {}
    seen = {name: {seed: of_arm[seed] for seed in sorted(shared)} for name, of_arm in arms.items()}
    values = {name: np.array([*of_arm.values()]) for name, of_arm in seen.items()}
    leader = max(values, key=lambda name: float(values[name].mean()))
    n = len(shared)
    missed = far_runs(seen, [(name, leader) for name in seen if name != leader]).shift(n)
    level = LEVEL * (FIRST_RACE - 1) * (1 / (n - 1) - 1 / n)
    quantile = stats.t.isf(level / (len(arms) - 1), n - 1)
    out: dict[str, float] = {}
    for name in values.keys() - protected - {leader}:
        differences = values[name] - values[leader]
        error = differences.std(ddof=1) / math.sqrt(n)
        bound = float(differences.mean() + quantile * error) + missed
        if error > 0 and bound < 0:
            out[name] = bound
    return out
