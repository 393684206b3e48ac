"""Recorded curves, and oracles: ASHA as its paper defines it, and our rule around it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from scipy import stats

EPOCHS = 9


def curve(seed: int) -> list[float]:
    """The recorded accuracies of a trial, without ties."""
    rng = random.Random(seed)
    level = rng.uniform(0.2, 0.8)
    return [level + rng.uniform(-0.07, 0.07) for _ in range(EPOCHS)]


def percentile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def asha(
    curves: Sequence[Sequence[float]],
    *,
    grace: int,
    factor: int,
    rungs: dict[int, list[float]] | None = None,
) -> list[int]:
    """Epochs that sequential trials reach: stopped at a rung if worse than the best 1/factor."""
    rungs = {} if rungs is None else rungs
    milestones = [m for k in range(9) if (m := grace * factor**k) < EPOCHS]
    lengths = []
    for values in curves:
        reached = EPOCHS
        for milestone in milestones:
            value = values[milestone - 1]
            earlier = rungs.setdefault(milestone, [])
            is_bad = bool(earlier) and value < percentile(earlier, 1 - 1 / factor)
            earlier.append(value)
            if is_bad:
                reached = milestone
                break
        lengths.append(reached)
    return lengths


class EarnedStopping:
    """The whole rule written out anew: ASHA may stop where the run's own trials show that it may.

    Larger signals and finals are better. Scores and the line are those of scipy. Each trial is of a
    placement of its own unless one is given.
    """

    def __init__(self, *, grace: int, factor: float, epochs: int = EPOCHS, seed: int = 0) -> None:
        self.rungs: dict[int, dict[int, float]] = {
            m: {} for k in range(300) if (m := math.ceil(grace * factor**k)) < epochs
        }
        self.factor, self.epochs, self.seed = factor, epochs, seed
        self.finals: dict[int, float] = {}
        self.placements: dict[int, str] = {}
        self.audits: dict[int, int] = {}
        self.untrusted = 0

    def goes_on(
        self,
        number: int,
        epoch: int,
        value: float,
        final: float | None = None,
        spared: bool = False,
        placement: str | None = None,
    ) -> bool:
        """Hear an epoch of a trial; whether it continues."""
        self.placements[number] = placement or str(number)
        if epoch == self.epochs:
            self.finals[number] = value if final is None else final
            return False
        if epoch not in self.rungs:
            return True
        here = self.rungs[epoch]
        wants_stop = bool(here) and value < percentile(list(here.values()), 1 - 1 / self.factor)
        here[number] = value
        if not wants_stop or spared:
            return True
        if not self.is_hopeless(number, here):
            self.untrusted += 1
            return True
        if np.random.default_rng([self.seed, number]).random() < 0.1:
            self.audits.setdefault(number, epoch)
            return True
        return False

    def is_hopeless(self, number: int, here: dict[int, float]) -> bool:
        seeds: dict[str, list[int]] = {}
        for other in sorted(here):
            seeds.setdefault(self.placements[other], []).append(other)
        mine = self.placements[number]
        if seeds[mine][0] != number:
            return False
        ends = {
            one: np.mean([self.finals[other] for other in same if other in self.finals])
            for one, same in seeds.items()
            if any(other in self.finals for other in same)
        }
        n = len(ends)
        if n < 12:
            return False
        scores = dict(
            zip(seeds, normal_scores([here[same[0]] for same in seeds.values()]), strict=True)
        )
        x = np.array([scores[one] for one in ends])
        y = normal_scores(list(ends.values()))
        line = stats.linregress(x, y)
        rest = np.sum((y - line.intercept - line.slope * x) ** 2) / (n - 2)
        lowest = max(0.0, line.slope - stats.t.ppf(0.95, n - 2) * line.stderr)
        spread = lowest**2 * np.var(list(scores.values()))
        if np.sqrt(spread / (spread + rest)) <= 0.75:
            return False
        place = min(n, math.ceil(0.05 * len(seeds)))
        limit = np.sort(y)[::-1][place - 1]
        chances = {}
        for one, at in scores.items():
            leverage = 1 + 1 / n + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
            away = (limit - line.intercept - line.slope * at) / np.sqrt(rest * leverage)
            chances[one] = stats.t.sf(away, n - 2)
        lost = sum(chance for chance in chances.values() if chance <= chances[mine])
        return bool(lost <= 0.03 * sum(chances.values()))


def normal_scores(values: Sequence[float]) -> np.ndarray:
    """Blom's normal scores."""
    return stats.norm.ppf((stats.rankdata(values) - 3 / 8) / (len(values) + 1 / 4))
