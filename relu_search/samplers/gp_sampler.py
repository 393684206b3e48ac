"""Bayesian optimisation with a Gaussian process over placements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relu_search.samplers.choice_sampler import ChoiceSampler
from relu_search.samplers.choice_space import ChoiceSpace, Point, Points
from relu_search.samplers.gp_model import Surrogate, kept_trials, one_blas_thread
from relu_search.samplers.study_arrays import Prior, StudyArrays

_FEWEST_TO_FIT = 2


class SurrogateSampler(ChoiceSampler):
    """Bayesian optimisation: the candidate with the largest augmented expected improvement.

    With several objectives, it is the largest expected hypervolume improvement; with a floor, the
    largest expected improvement of the cost under it. Tried placements
    are candidates too: one is proposed with another seed if that is worth more than any new
    placement. In a small space, every placement is a candidate. In a large one, candidates are
    neighbours and crosses of the best trials, and random points.

    The search begins with placements with the fewest ReLUs: they were good in all tables of
    trainings that we have, and they tell the effects of the sites from each other.

    Args:
        seed, space: as in `ChoiceSampler`.
        startup: trials that do not ask the model, those of the hand-designed modules included.
        prior: trials of an earlier run, as data of the model; they count as trials of the start-up.
    """

    repeats = True
    _DRAWN = 600

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 9,
        space: ChoiceSpace | None = None,
        prior: Prior | None = None,
    ) -> None:
        super().__init__(seed=seed, startup=_FEWEST_TO_FIT, space=space)
        self._prior = prior
        self._sparse = startup - (0 if prior is None else len(prior.scores))

    def _first(self, arrays: StudyArrays, space: ChoiceSpace) -> Point | None:
        if len(arrays.scores) + len(arrays.pending) >= self._sparse:
            return None
        return space.draw_sparse(arrays.seen(), self._rng)

    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        with one_blas_thread():
            return self._most_worth(arrays, space)

    def _most_worth(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        if self._prior is not None:
            arrays = arrays.after(self._prior)
        kept = kept_trials(arrays.scores)
        points, costs = arrays.points[kept], arrays.costs[kept]
        model = Surrogate.fit(points, arrays.quality[kept], arrays.noisier[kept])
        candidates = self._candidates(arrays, space)
        if candidates is None:
            candidates = self._near_and_far(points, arrays.scores[kept], space)
        if costs.shape[1]:
            fixed = np.mean(costs - space.costs_of(points), axis=0)  # the part that no site changes
            pending, new = (space.costs_of(p) + fixed for p in (arrays.pending, candidates))
            known, believing = np.concatenate([costs, pending]), model.believing(arrays.pending)
            if arrays.floor is None:
                worth = believing.hypervolume_improvement(candidates, new, known)
            else:
                cost, tried = new[:, 0], known[:, 0]
                worth = believing.cost_improvement(candidates, cost, tried, arrays.floor)
        else:
            worth = model.believing(arrays.pending).augmented_improvement(candidates)
        best = np.flatnonzero(worth >= worth.max() * (1 - 1e-9))
        return tuple(candidates[self._rng.choice(best)].tolist())

    def _candidates(self, arrays: StudyArrays, space: ChoiceSpace) -> Points | None:
        """(n, units) the candidates; None: points near the best trials, and random points."""
        return space.pool

    def _near_and_far(
        self, points: NDArray[np.int64], scores: NDArray[np.float64], space: ChoiceSpace
    ) -> NDArray[np.int64]:
        """(n, units) the best trials, their neighbours and crosses, and random points."""
        best = points[np.argsort(-scores, kind="stable")[:8]]
        near = [p for point in best[:4].tolist() for p in space.neighbours(tuple(point))]
        mother, father = best[self._rng.integers(len(best), size=(2, self._DRAWN))]
        crosses = np.where(self._rng.random(mother.shape) < 0.5, mother, father)
        changed = self._rng.random(crosses.shape) < 1 / len(space.sizes)
        drawn = self._rng.integers(np.array(space.sizes), size=crosses.shape)
        parts = [best, np.where(changed, drawn, crosses), np.array(near, dtype=np.int64)]
        found = np.concatenate([part.reshape(-1, len(space.sizes)) for part in parts])
        found = found[space.admits(found)]
        return np.unique(np.concatenate([found, space.draw_many(self._DRAWN, self._rng)]), axis=0)


@dataclass(frozen=True)
class Level:
    """Up to this number of trials, proposals are among these points, (n, units)."""

    trials: int
    points: Points


class CoarseToFineSampler(SurrogateSampler):
    """The surrogate on finer and finer patterns: one per network, one per stage, one per block.

    The model learns from the trials of the coarse levels, so the fine level starts near the best of
    them.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 2,
        space: ChoiceSpace | None = None,
        levels: Sequence[Level] = (),
        prior: Prior | None = None,
    ) -> None:
        super().__init__(seed=seed, startup=startup, space=space, prior=prior)
        self._levels = levels

    def _first(self, arrays: StudyArrays, space: ChoiceSpace) -> Point | None:
        if not self._levels or len(arrays.scores) >= self._startup:
            return None
        seen = arrays.seen()
        points = [tuple(p) for p in self._levels[0].points.tolist() if tuple(p) not in seen]
        return points[self._rng.integers(len(points))] if points else None

    def _candidates(self, arrays: StudyArrays, space: ChoiceSpace) -> Points | None:
        spent = len(arrays.scores) + len(arrays.pending)
        for level in self._levels:
            if spent < level.trials:
                return level.points
        return space.pool
