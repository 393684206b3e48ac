"""Every strategy against Optuna's own tests of samplers, and against a known optimum."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase

from relu_search.samplers.gp_sampler import CoarseToFineSampler, SurrogateSampler
from relu_search.samplers.local_search import EvolutionSampler, GreedySampler, LocalSampler
from relu_search.samplers.reinforce import ReinforceSampler

STRATEGIES = [
    CoarseToFineSampler,
    EvolutionSampler,
    GreedySampler,
    LocalSampler,
    ReinforceSampler,
    SurrogateSampler,
]
UNITS = 8


@pytest.fixture(params=STRATEGIES, ids=lambda strategy: strategy.__name__)
def strategy(request):
    return request.param


def an_integer(trial, name):
    return trial.suggest_int(name, 0, 10)


def a_choice(trial, name):
    return trial.suggest_categorical(name, [0, 1, 2])


def a_number(trial, name):
    return trial.suggest_float(name, 1e-7, 10, log=True)


def a_step(trial, name):
    return trial.suggest_float(name, 0, 10, step=0.5)


class TestOptunaContract(BasicSamplerTestCase):
    """What a strategy does with one study; what all inherit is tested once, below."""

    test_float = test_int = test_categorical = None

    @pytest.fixture
    def sampler(self, strategy) -> Callable[[], BaseSampler]:
        return functools.partial(strategy, startup=2)

    @pytest.mark.parametrize(
        ("suggest_method_x", "suggest_method_y"),
        [
            (a_choice, a_choice),
            (a_choice, a_number),
            (an_integer, a_choice),
            (a_number, a_step),
            (a_step, an_integer),
        ],
        ids=lambda suggest: suggest.__name__,
    )
    def test_combination_of_different_distributions_objective(
        self, sampler, suggest_method_x, suggest_method_y
    ):
        super().test_combination_of_different_distributions_objective(
            sampler, lambda t: suggest_method_x(t, "x"), lambda t: suggest_method_y(t, "y")
        )


class TestIndependentSampling:
    """Parameters outside the common search space: all strategies inherit one method for them."""

    test_float = BasicSamplerTestCase.test_float
    test_int = BasicSamplerTestCase.test_int
    test_categorical = BasicSamplerTestCase.test_categorical
    test_multi_objective = MultiObjectiveSamplerTestCase.test_multi_objective_sample_independent

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return functools.partial(LocalSampler, startup=2)

    def test_it_is_inherited_by_all(self):
        methods = {strategy.sample_independent for strategy in STRATEGIES}
        assert methods == {LocalSampler.sample_independent}


def weighted_ones(trial: optuna.Trial) -> float:
    """Additive, with an optimum of 0 where every third bit is kept."""
    bits = [trial.suggest_categorical(f"bit{i}", ("0", "1")) for i in range(UNITS)]
    return sum((i + 1) * (bit != ("1" if i % 3 == 0 else "0")) for i, bit in enumerate(bits))


def test_a_strategy_finds_the_optimum_of_an_additive_function(strategy):
    def found(sampler):
        study = optuna.create_study(sampler=sampler)
        study.optimize(weighted_ones, n_trials=60)
        return study.best_value

    ours = np.median([found(strategy(seed=seed)) for seed in range(5)])
    chance = np.median([found(optuna.samplers.RandomSampler(seed=seed)) for seed in range(5)])
    assert ours <= 2  # at most bit 0 or bit 1 is wrong
    assert ours <= chance


def test_the_same_seed_gives_the_same_proposals(strategy):
    def proposed():
        study = optuna.create_study(sampler=strategy(seed=3))
        study.optimize(weighted_ones, n_trials=15)
        return [trial.params for trial in study.trials]

    assert proposed() == proposed()
