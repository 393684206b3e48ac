"""Racing: arms that can no longer win get no more seeds.

The rule uses validation accuracy only. It is stricter when more seeds are planned, so that an arm
can come back when seeds are added to an earlier confirmation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from relu_search.confirmation.arms import PAIRED
from relu_search.confirmation.verdict_rule import LEVEL, Scores

FIRST_RACE = 3
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
        out = losers(racing, protected=frozenset({PAIRED, best}), planned_seeds=planned_seeds)
        if not out:
            return found
        for name, bound in out.items():
            found.append(Dropped(name=name, after=len(shared), bound=bound))
            del racing[name]  # the remaining arms may have more seeds in common


def losers(
    arms: Mapping[str, Scores], *, protected: frozenset[str], planned_seeds: int
) -> dict[str, float]:
    """Arms that can no longer win, each with the upper bound of its difference from the leader.

    A sequential test: after every seed from the third on, an arm is dropped when the one-sided
    upper t bound of its paired difference from the leading arm is below zero. The level is 0.05
    divided by the number of challengers times the number of looks (Bonferroni). So the best arm is
    dropped in at most 5 % of confirmations.

    Args:
        arms: arm -> its scores so far, for the arms that still race.
        protected: arms that are never dropped: the references of the comparison.
        planned_seeds: of the whole confirmation; it fixes the number of looks.
    """
    looks = max(1, planned_seeds - FIRST_RACE)
    shared = set.intersection(*(set(scores) for scores in arms.values())) if arms else set()
    if len(shared) < FIRST_RACE or len(arms) < 2:
        return {}
    values = {name: np.array([s[seed] for seed in sorted(shared)]) for name, s in arms.items()}
    leader = max(values, key=lambda name: float(values[name].mean()))
    quantile = stats.t.ppf(1 - LEVEL / ((len(arms) - 1) * looks), len(shared) - 1)
    out: dict[str, float] = {}
    for name in values.keys() - protected - {leader}:
        differences = values[name] - values[leader]
        error = differences.std(ddof=1) / math.sqrt(len(shared))
        bound = float(differences.mean() + quantile * error)
        if error > 0 and bound < 0:
            out[name] = bound
    return out
