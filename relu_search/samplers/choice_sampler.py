"""The base class of the strategies of this package.

A proposal depends only on the study and a seed; no state is kept between trials. So an interrupted
search proposes the same placements after it is resumed, and several processes may share a study.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial

from relu_search.samplers.choice_space import ChoiceSpace, Point
from relu_search.samplers.study_arrays import StudyArrays


class ChoiceSampler(BaseSampler, abc.ABC):
    """Proposes all categorical parameters together; other parameters are drawn at random.

    Args:
        seed: of all random draws.
        startup: number of random trials at the beginning; they count when they have ended.
        space: what may be proposed; None: every combination of choices.
    """

    repeats = False
    """Whether the strategy may propose a placement again, to train it with another seed."""

    def __init__(
        self, *, seed: int | None = None, startup: int = 5, space: ChoiceSpace | None = None
    ) -> None:
        self._intersection = IntersectionSearchSpace()
        self._space = space
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
        arrays = StudyArrays.of(study, choices)
        sizes = tuple(len(distribution.choices) for distribution in choices.values())
        space = self._space or ChoiceSpace.free(sizes)
        point = self._first(arrays, space)
        if point is None and len(arrays.scores) >= self._startup:
            point = self._propose(arrays, space)
        if point is None:
            return {}
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

    def _first(self, arrays: StudyArrays, space: ChoiceSpace) -> Point | None:
        """A point for the start-up; None: each unit at random, or its end."""
        return None

    @abc.abstractmethod
    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        """The next point, given at least `startup` trials."""
