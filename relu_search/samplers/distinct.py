"""A wrapper that avoids repeated placements, and the grid sampler."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from relu_search.compat import enqueued_choices
from relu_search.samplers.choice_sampler import ChoiceSampler
from search_spaces import Placement, SearchSpace
from search_spaces.space import ENUMERABLE

ENOUGH = 3
"""Trials for each placement that is left, with which every placement is tried before repeats."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The search space in Optuna's terms."""
    return {name: CategoricalDistribution(choices) for name, choices in space.choices.items()}


class DistinctSampler(BaseSampler):
    """Asks another sampler, and replaces a placement that was tried or is outside the limits.

    The replacement is a similar placement: more and more units are changed at random. If that finds
    none, it is drawn uniformly from all placements that are left. The sampler itself replaces it,
    so that the study records what is really trained.

    A strategy that may repeat placements (`ChoiceSampler.repeats`) can propose one again, unless
    the rest of the budget has `ENOUGH` trials for each placement that is left: then these come
    first. Once all were tried, each proposal is a repetition.

    All random draws for a trial depend only on (seed, number of the trial). So no state is saved,
    and a resumed search proposes what it would have proposed without the interruption.

    Args:
        base_of: takes `seed=` and returns the sampler that makes one proposal.
        space: what may be proposed.
        tried: canonical placements not to propose again.
        seed: of the search.
        trials: budget of the search.
    """

    def __init__(
        self,
        base_of: Callable[..., BaseSampler],
        space: SearchSpace,
        tried: Collection[Placement],
        seed: int,
        trials: int,
    ) -> None:
        self._trials = trials
        self._base_of = base_of
        self._space = space
        self._tried = tried
        self._seed = seed
        self._distributions = distributions(space)
        self._start_trial(0)

    def _start_trial(self, number: int) -> None:
        base, steps = np.random.SeedSequence([self._seed, number]).generate_state(2)
        self._base = self._base_of(seed=int(base))
        self._rng = random.Random(int(steps))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if enqueued_choices(trial) is not None:  # nothing to propose
            return {}
        known = self._distributions
        if not isinstance(self._base, ChoiceSampler):  # it knows its units without any trial
            known = self._base.infer_relative_search_space(study, trial)
        params = self._base.sample_relative(study, trial, known)
        for name, distribution in self._distributions.items():
            if name not in params:
                params[name] = self._base.sample_independent(study, trial, name, distribution)
        return params if self._is_repeated_on_purpose(params, trial) else self._untried_near(params)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._start_trial(trial.number)
        self._base.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._base.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._base.reseed_rng()

    def _untried_near(self, params: dict[str, str]) -> dict[str, str]:
        if self._is_untried(params):
            return params
        candidate = params
        for changes in range(1, len(self._space.units) + 1):
            for _ in range(8):
                candidate = self._change(params, changes)
                if self._is_untried(candidate):
                    return candidate
        known = [p for p in self._tried if self._space.admits(p)]
        if len(known) >= self._space.size:  # another seed of one of them
            if self._space.admits(self._space.decode(params)):
                return params
            return encoded(self._space, self._rng.choice(known))
        if self._space.combinations <= ENUMERABLE:
            untried = [p for p in self._space.enumerate() if p not in self._tried]
            return encoded(self._space, self._rng.choice(untried))
        while not self._is_untried(candidate):
            candidate = self._space.sample(self._rng)
        return candidate

    def _is_repeated_on_purpose(self, params: dict[str, str], trial: FrozenTrial) -> bool:
        """Whether the strategy repeats this placement on purpose, with another seed."""
        repeats = isinstance(self._base, ChoiceSampler) and self._base.repeats
        left = self._space.size - len(self._tried)
        if left and self._trials - trial.number >= ENOUGH * left:
            return False
        return repeats and self._space.admits(self._space.decode(params))

    def _change(self, params: dict[str, str], changes: int) -> dict[str, str]:
        changed = dict(params)
        for unit in self._rng.sample(self._space.units, changes):
            others = [c for c in unit.choices if c != params[unit.name]]
            changed[unit.name] = self._rng.choice(others)
        return changed

    def _is_untried(self, params: dict[str, str]) -> bool:
        placement = self._space.decode(params)
        return self._space.admits(placement) and self._space.canonical(placement) not in self._tried


def order_of(space: SearchSpace, seed: int) -> list[Placement]:
    """Every placement of the space once, in a random order that the seed determines.

    Raises:
        InputError: the space is too large to enumerate.
    """
    order = sorted(space.enumerate(), key=lambda placement: placement.bits)
    random.Random(seed).shuffle(order)
    return order


class GridSampler(RandomSampler):
    """Proposes the placements in a given order, except those already tried."""

    def __init__(
        self,
        space: SearchSpace,
        tried: Collection[Placement],
        order: Sequence[Placement],
        *,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self._space = space
        self._tried = tried
        self._order = order

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        untried = (p for p in self._order if p not in self._tried)
        placement = next(untried, None)
        return {} if placement is None else dict(encoded(self._space, placement))


def encoded(space: SearchSpace, placement: Placement) -> dict[str, str]:
    """The choices for a placement that is known to be in the space."""
    params = space.encode(placement)
    if params is None:
        raise ValueError(f"placement {placement.text} is not in the search space")
    return params


def decoded(space: SearchSpace, point: Sequence[int]) -> Placement:
    """The placement of a point of `ChoiceSpace`: a choice index for each unit, by unit name."""
    names = sorted(space.choices)
    return space.decode({n: space.choices[n][i] for n, i in zip(names, point, strict=True)})


optuna.logging.set_verbosity(optuna.logging.WARNING)
