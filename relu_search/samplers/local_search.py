"""Strategies that move from a good placement to its neighbours."""

from __future__ import annotations

import numpy as np

from relu_search.samplers.choice_sampler import ChoiceSampler
from relu_search.samplers.choice_space import ChoiceSpace, Point
from relu_search.samplers.study_arrays import StudyArrays


class LocalSampler(ChoiceSampler):
    """Hill climbing: change one unit of the current point; a better point becomes the current one.

    When all neighbours of the current point were tried, it restarts from a random point.
    """

    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        current: Point | None = None
        best = -np.inf
        seen: set[Point] = set()
        for point, score in zip(map(tuple, arrays.points.tolist()), arrays.scores, strict=True):
            if current is None or score > best:
                current, best = point, score
            seen.add(point)
            if seen.issuperset(space.neighbours(current)):
                current = None
        if current is None:
            return space.draw(self._rng)
        untried = [p for p in space.neighbours(current) if p not in arrays.seen()]
        if not untried:  # the last ones are still running
            return space.draw(self._rng)
        return untried[int(self._rng.integers(len(untried)))]


class GreedySampler(ChoiceSampler):
    """Steepest ascent: try every change of one unit, move to the best neighbour, repeat.

    It starts from the best of the first trials (in a search: the hand-designed modules). At a local
    optimum it continues from the best point whose neighbours were not all tried.
    """

    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        score_of: dict[Point, float] = {}
        for point, score in zip(map(tuple, arrays.points.tolist()), arrays.scores, strict=True):
            score_of[point] = max(score, score_of.get(point, -np.inf))
        seen, left = arrays.seen(), set()
        first = [tuple(point) for point in arrays.points[: self._startup].tolist()]
        current = max(first, key=lambda point: score_of[point])
        while True:
            left.add(current)
            untried = [p for p in space.neighbours(current) if p not in seen]
            if untried:
                return untried[int(self._rng.integers(len(untried)))]
            known = [p for p in space.neighbours(current) if p in score_of and p not in left]
            better = [p for p in known if score_of[p] > score_of[current]]
            others = better or [p for p in score_of if p not in left]
            if not others:
                return space.draw(self._rng)
            current = max(others, key=lambda point: score_of[point])


class EvolutionSampler(ChoiceSampler):
    """Regularised evolution (Real et al. 2019): the oldest trials are removed, not the worst.

    The parent is the best of a random sample of the latest trials; its child differs in one unit.

    Args:
        seed, startup, space: as in `ChoiceSampler`.
        population: number of latest trials that may become parents.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 5,
        space: ChoiceSpace | None = None,
        population: int = 20,
    ) -> None:
        super().__init__(seed=seed, startup=startup, space=space)
        self._population = population

    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        alive = np.arange(len(arrays.scores))[-self._population :]
        sample = self._rng.choice(alive, size=max(2, len(alive) // 4))
        parent = tuple(arrays.points[sample[np.argmax(arrays.scores[sample])]].tolist())
        children = space.neighbours(parent) or [space.draw(self._rng)]
        return children[int(self._rng.integers(len(children)))]
