"""A sampler by its name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from relu_search.run_folder.study import history_of
from relu_search.samplers.choice_space import LARGEST_POOL, ChoiceSpace
from relu_search.samplers.distinct import DistinctSampler, GridSampler, order_of
from relu_search.samplers.gp_sampler import CoarseToFineSampler, Level, SurrogateSampler
from relu_search.samplers.local_search import EvolutionSampler, GreedySampler, LocalSampler
from relu_search.samplers.reinforce import ReinforceSampler
from relu_search.samplers.study_arrays import Prior
from relu_search.settings.search_options import SAMPLERS
from search_spaces import InputError, Placement, SearchSpace
from search_spaces.space import Granularity

_STARTUP_SHARE = 4  # a quarter of the budget is random before TPE models anything, at most 10


def make_sampler(
    name: str,
    space: SearchSpace,
    *,
    tried: Collection[Placement],
    trials: int,
    seed: int,
    site_costs: NDArray[np.float64] | None = None,
    floor: float | None = None,
    prior: Prior | None = None,
) -> DistinctSampler:
    """The sampler with this name, wrapped in `DistinctSampler`.

    Args:
        name: one of `SAMPLERS` (`grid`: every placement, in random order), or `coarse-to-fine` for
            a space of block granularity.
        space: what may be proposed.
        tried: canonical placements already proposed; may grow while the sampler is in use.
        trials: budget of the search; start-up and population depend on it.
        seed: of the search.
        site_costs: as in `ChoiceSpace.of`, with several objectives.
        floor: least accuracy, a constraint: Optuna's own for `tpe` and `nsga2`; the others find it
            in `StudyArrays`. `random` and `grid` learn nothing, so they need none.
        prior: trials of an earlier run, for the model of `gp` and `coarse-to-fine`.

    Raises:
        InputError: an unknown name, or `grid` on a space too large to enumerate.
    """
    base_of: Callable[..., BaseSampler]
    choice_space = ChoiceSpace.of(space, site_costs)
    match name:
        case "tpe":
            startup = max(1, min(10, trials // _STARTUP_SHARE))
            base_of = partial(_constrained, TPESampler, floor, n_startup_trials=startup)
        case "random":
            base_of = RandomSampler
        case "nsga2":
            population = max(4, min(50, trials // 4))
            base_of = partial(_constrained, NSGAIISampler, floor, population_size=population)
        case "local":
            base_of = partial(LocalSampler, space=choice_space)
        case "greedy":
            base_of = partial(GreedySampler, space=choice_space)
        case "evolution":
            base_of = partial(
                EvolutionSampler, space=choice_space, population=max(8, min(50, trials // 4))
            )
        case "reinforce":
            base_of = partial(ReinforceSampler, space=choice_space)
        case "gp":
            base_of = partial(SurrogateSampler, space=choice_space, prior=prior)
        case "coarse-to-fine":
            base_of = partial(
                CoarseToFineSampler,
                space=choice_space,
                levels=levels_of(space, choice_space, trials),
                prior=prior,
            )
        case "grid":
            base_of = partial(GridSampler, space, tried, order_of(space, seed))
        case _:
            raise InputError(f"sampler {name!r} is unknown; use one of {', '.join(SAMPLERS)}")
    return DistinctSampler(base_of, space, tried, seed, trials)


def _constrained(kind: Callable[..., BaseSampler], floor: float | None, **how: Any) -> BaseSampler:
    """A sampler of Optuna with the floor as its constraint."""
    if floor is not None:
        how["constraints_func"] = partial(_below, floor)
    with warnings.catch_warnings():  # experimental in Optuna 4, and to be replaced in 7
        warnings.simplefilter("ignore")
        return kind(**how)


def _below(floor: float, trial: FrozenTrial) -> tuple[float]:
    """How far the last accuracy of a trial is below the floor; 0 or less: it is above."""
    history = history_of(trial)
    return (floor - history[-1]["val_accuracy"] if history else floor,)


def levels_of(space: SearchSpace, choice_space: ChoiceSpace, trials: int) -> list[Level]:
    """The coarse levels of a space of blocks.

    The first sixth of the budget uses one pattern for the whole network, but at most one trial for
    each pattern. Then, until half of the budget, each stage has one pattern.
    """
    levels: list[Level] = []
    coarse: tuple[tuple[Granularity, int], ...] = (("network", trials // 6), ("stage", trials // 2))
    for granularity, until in coarse:
        try:
            patterns = SearchSpace(
                space.backbone,
                granularity,
                min_relus=space.min_relus,
                max_relus=space.max_relus,
                norm=space.norm,
            )
        except InputError:  # no such pattern is within the limits
            continue
        if patterns.combinations <= LARGEST_POOL:
            known = (space.encode(placement) for placement in patterns.enumerate())
            points = [choice_space.point_of(params) for params in known if params is not None]
            spent = levels[-1].trials if levels else 0
            levels.append(Level(min(until, spent + len(points)), np.array(points)))
    return levels
