"""Strategies of this package, each an Optuna sampler over categorical choices.

All are functions of the study and a seed: nothing is remembered between trials, so a search that
was cut off goes on as it would have, and several processes may share a study.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial

from relu_search.evidence import Evidence
from relu_search.region import Point, Points, Region
from relu_search.surrogate import Surrogate, kept_trials, one_blas_thread


class ChoiceSampler(BaseSampler, abc.ABC):
    """Proposes a choice for all categorical parameters at once; the rest is drawn at random.

    Args:
        seed: of all random draws.
        startup: so many trials are drawn at random first.
        region: where it may move; None: anywhere.
    """

    repeats = False
    """Whether a proposal that was tried is meant: another seed of the same placement."""

    def __init__(
        self, *, seed: int | None = None, startup: int = 5, region: Region | None = None
    ) -> None:
        self._intersection = IntersectionSearchSpace()
        self._region = region
        self._rng = np.random.default_rng(seed)
        self._independent = RandomSampler(seed=seed)
        self._startup = startup

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        known = self._intersection.calculate(study)
        return {
            name: distribution
            for name, distribution in known.items()
            if isinstance(distribution, CategoricalDistribution) and not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        choices = {
            name: distribution
            for name, distribution in search_space.items()
            if isinstance(distribution, CategoricalDistribution)
        }
        if not choices:
            return {}
        evidence = Evidence.of(study, choices)
        sizes = tuple(len(distribution.choices) for distribution in choices.values())
        if len(evidence.scores) < self._startup:
            first = self._first(evidence)
            if first is None:
                return {}
            point = first
        else:
            point = self._propose(evidence, self._region or Region.free(sizes))
        return {
            name: distribution.choices[index]
            for (name, distribution), index in zip(choices.items(), point, strict=True)
        }

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._independent.reseed_rng()

    def _first(self, evidence: Evidence) -> Point | None:
        """What to begin with; None: each unit at random."""
        return None

    @abc.abstractmethod
    def _propose(self, evidence: Evidence, region: Region) -> Point:
        """The next point, given at least `startup` trials."""


class LocalSampler(ChoiceSampler):
    """Hill climbing: change one unit of the current point, move as soon as one is better.

    When all neighbours of the current point were tried, it restarts from a random point.
    """

    def _propose(self, evidence: Evidence, region: Region) -> Point:
        current: Point | None = None
        best = -np.inf
        seen: set[Point] = set()
        for point, score in zip(map(tuple, evidence.points.tolist()), evidence.scores, strict=True):
            if current is None or score > best:
                current, best = point, score
            seen.add(point)
            if seen.issuperset(region.neighbours(current)):
                current = None
        if current is None:
            return region.draw(self._rng)
        untried = [p for p in region.neighbours(current) if p not in evidence.seen()]
        if not untried:  # the last of them are running
            return region.draw(self._rng)
        return untried[int(self._rng.integers(len(untried)))]


class GreedySampler(ChoiceSampler):
    """Steepest ascent: try every change of one unit, take the one that helps most, repeat.

    It starts from the best of the first trials (in a search: the hand-designed modules), and
    after a local optimum from the best point that was not yet left.
    """

    def _propose(self, evidence: Evidence, region: Region) -> Point:
        score_of: dict[Point, float] = {}
        for point, score in zip(map(tuple, evidence.points.tolist()), evidence.scores, strict=True):
            score_of[point] = max(score, score_of.get(point, -np.inf))
        seen, left = evidence.seen(), set()
        first = [tuple(point) for point in evidence.points[: self._startup].tolist()]
        current = max(first, key=lambda point: score_of[point])
        while True:
            left.add(current)
            untried = [p for p in region.neighbours(current) if p not in seen]
            if untried:
                return untried[int(self._rng.integers(len(untried)))]
            known = [p for p in region.neighbours(current) if p in score_of and p not in left]
            better = [p for p in known if score_of[p] > score_of[current]]
            others = better or [p for p in score_of if p not in left]
            if not others:
                return region.draw(self._rng)
            current = max(others, key=lambda point: score_of[point])


class EvolutionSampler(ChoiceSampler):
    """Regularised evolution (Real et al. 2019): the oldest die, not the worst.

    The parent is the best of a sample from the latest trials; its child differs in one unit.

    Args:
        population: how many of the latest trials may become parents.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 5,
        region: Region | None = None,
        population: int = 20,
    ) -> None:
        super().__init__(seed=seed, startup=startup, region=region)
        self._population = population

    def _propose(self, evidence: Evidence, region: Region) -> Point:
        alive = np.arange(len(evidence.scores))[-self._population :]
        sample = self._rng.choice(alive, size=max(2, len(alive) // 4))
        parent = tuple(evidence.points[sample[np.argmax(evidence.scores[sample])]].tolist())
        children = region.neighbours(parent) or [region.draw(self._rng)]
        return children[int(self._rng.integers(len(children)))]


class ReinforceSampler(ChoiceSampler):
    """REINFORCE (Williams 1992): a policy gradient over the choices, one softmax per unit.

    The policy is trained anew for each proposal, by one pass over all trials in order. The reward
    is the rank of a trial among all, -1 to 1, and the baseline a running mean of it; an entropy
    term keeps the policy from settling early.

    Args:
        learning_rate: of the logits.
        entropy: weight of the entropy's gradient.
    """

    _MEMORY = 0.9  # of the running mean

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 5,
        region: Region | None = None,
        learning_rate: float = 0.4,
        entropy: float = 0.02,
    ) -> None:
        super().__init__(seed=seed, startup=startup, region=region)
        self._learning_rate = learning_rate
        self._entropy = entropy

    def _propose(self, evidence: Evidence, region: Region) -> Point:
        policy = self._policy(evidence, region.sizes)
        return tuple(int(self._rng.choice(len(row), p=row)) for row in policy)

    def _policy(self, evidence: Evidence, sizes: Point) -> list[NDArray[np.float64]]:
        units = np.arange(len(sizes))
        exists = np.arange(max(sizes))[None, :] < np.array(sizes)[:, None]
        logits = np.where(exists, 0.0, -np.inf)
        ranks = np.argsort(np.argsort(evidence.scores, kind="stable"), kind="stable")
        rewards = 2 * ranks / max(1, len(ranks) - 1) - 1
        baseline = 0.0
        for point, reward in zip(evidence.points, rewards, strict=True):
            p = _softmax(logits)
            step = -(reward - baseline) * p
            step[units, point] += reward - baseline
            log_p = np.log(np.where(p > 0, p, 1.0))
            step -= self._entropy * p * (log_p - (p * log_p).sum(axis=1, keepdims=True))
            logits = np.where(exists, logits + self._learning_rate * step, -np.inf)
            baseline = self._MEMORY * baseline + (1 - self._MEMORY) * reward
        return [row[:size] for row, size in zip(_softmax(logits), sizes, strict=True)]


class SurrogateSampler(ChoiceSampler):
    """Bayesian optimisation: the placement of largest augmented expected improvement.

    With several objectives it is the expected gain of hypervolume. Placements that were tried are
    among the candidates, so another seed of one is proposed when that is worth more than any new
    placement. Small regions are weighed as a whole, large ones near the best trials and at random.
    """

    repeats = True
    _DRAWN = 600

    def __init__(
        self, *, seed: int | None = None, startup: int = 5, region: Region | None = None
    ) -> None:
        super().__init__(seed=seed, startup=max(2, startup), region=region)

    def _propose(self, evidence: Evidence, region: Region) -> Point:
        with one_blas_thread():
            return self._most_worth(evidence, region)

    def _most_worth(self, evidence: Evidence, region: Region) -> Point:
        kept = kept_trials(evidence.scores)
        points, costs = evidence.points[kept], evidence.costs[kept]
        model = Surrogate.fit(points, evidence.quality[kept], evidence.noisier[kept])
        candidates = self._candidates(evidence, region)
        if candidates is None:
            candidates = self._near_and_far(points, evidence.scores[kept], region)
        if costs.shape[1]:
            fixed = np.mean(costs - region.costs_of(points), axis=0)  # of what no site changes
            pending, new = (region.costs_of(p) + fixed for p in (evidence.pending, candidates))
            worth = model.believing(evidence.pending).hypervolume_improvement(
                candidates, new, np.concatenate([costs, pending])
            )
        else:
            worth = model.believing(evidence.pending).augmented_improvement(candidates)
        best = np.flatnonzero(worth >= worth.max() * (1 - 1e-9))
        return tuple(candidates[self._rng.choice(best)].tolist())

    def _candidates(self, evidence: Evidence, region: Region) -> Points | None:
        """All that is weighed; None: what is near the best trials, and draws."""
        return region.pool

    def _near_and_far(
        self, points: NDArray[np.int64], scores: NDArray[np.float64], region: Region
    ) -> NDArray[np.int64]:
        """The best trials, all their neighbours, crosses of them, and points from anywhere."""
        best = points[np.argsort(-scores, kind="stable")[:8]]
        near = [p for point in best[:4].tolist() for p in region.neighbours(tuple(point))]
        mother, father = best[self._rng.integers(len(best), size=(2, self._DRAWN))]
        crosses = np.where(self._rng.random(mother.shape) < 0.5, mother, father)
        changed = self._rng.random(crosses.shape) < 1 / len(region.sizes)
        drawn = self._rng.integers(np.array(region.sizes), size=crosses.shape)
        parts = [best, np.where(changed, drawn, crosses), np.array(near, dtype=np.int64)]
        found = np.concatenate([part.reshape(-1, len(region.sizes)) for part in parts])
        found = found[region.admits(found)]
        return np.unique(np.concatenate([found, region.draw_many(self._DRAWN, self._rng)]), axis=0)


@dataclass(frozen=True)
class Level:
    """Proposals up to a number of trials are among these points."""

    trials: int
    points: Points


class CoarseToFineSampler(SurrogateSampler):
    """The surrogate on ever finer patterns: one for the net, one per stage, one per block.

    Trials of the coarse levels teach the model, so the fine level starts around the winners.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 2,
        region: Region | None = None,
        levels: Sequence[Level] = (),
    ) -> None:
        super().__init__(seed=seed, startup=startup, region=region)
        self._levels = levels

    def _first(self, evidence: Evidence) -> Point | None:
        if not self._levels:
            return None
        seen = evidence.seen()
        points = [tuple(p) for p in self._levels[0].points.tolist() if tuple(p) not in seen]
        return points[self._rng.integers(len(points))] if points else None

    def _candidates(self, evidence: Evidence, region: Region) -> Points | None:
        spent = len(evidence.scores) + len(evidence.pending)
        for level in self._levels:
            if spent < level.trials:
                return level.points
        return region.pool


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return result
