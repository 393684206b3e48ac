"""The strategies that move to neighbours: which points they start from."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from relu_search.samplers.local_search import EvolutionSampler, GreedySampler, LocalSampler

UNITS = 6
CHOICES = {f"unit{i}": CategoricalDistribution((0, 1)) for i in range(UNITS)}


def study_of(points, values):
    """A study that has trained these points."""
    study = optuna.create_study(direction="maximize")
    for point, value in zip(points, values, strict=True):
        params = dict(zip(CHOICES, point, strict=True))
        study.add_trial(create_trial(params=params, distributions=CHOICES, value=value))
    return study


def proposed(sampler, study):
    """The point of the sampler's next proposal."""
    trial = study.get_trials()[-1]
    params = sampler.sample_relative(study, trial, dict(CHOICES))
    return [params[name] for name in CHOICES]


def changes(a, b):
    return int(np.sum(np.array(a) != np.array(b)))


@pytest.mark.parametrize("seed", range(8))
def test_the_oldest_trials_are_no_parents_in_evolution_however_good(seed):
    """Old trials are all ones with a high value, recent ones all zeros with a low value."""
    old, recent = [[1] * UNITS] * 6, [[0] * UNITS] * 4
    study = study_of(old + recent, [1.0] * 6 + [0.1] * 4)
    child = proposed(EvolutionSampler(seed=seed, population=4), study)
    assert changes(child, recent[0]) == 1


@pytest.mark.parametrize("strategy", [LocalSampler, GreedySampler])
@pytest.mark.parametrize("seed", range(4))
def test_the_next_point_is_an_untried_neighbour_of_the_best(strategy, seed):
    best = [1, 0, 1, 0, 1, 0]
    neighbour = [0, 0, 1, 0, 1, 0]
    worse = [[0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 1]]
    study = study_of([*worse, best, neighbour], [0.1, 0.2, 0.1, 0.9, 0.3])
    point = proposed(strategy(seed=seed), study)
    assert changes(point, best) == 1
    assert point != neighbour
