"""Bayesian optimisation: repeated placements, and the levels of coarse to fine."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from helpers.replay import bits_of, drive, new_proposer

from relu_search.samplers.gp_sampler import SurrogateSampler
from search_spaces import SearchSpace


def test_the_surrogate_repeats_a_placement_where_noise_hides_the_best():
    rng = np.random.default_rng(0)
    study = optuna.create_study(sampler=SurrogateSampler(seed=0))

    def noisy(trial):
        bits = [trial.suggest_categorical(f"bit{i}", ("0", "1")) for i in range(2)]
        return bits.count("1") + rng.normal(scale=2)

    study.optimize(noisy, n_trials=30)
    tried = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(tried)) <= 4
    assert tried.count(("0", "0")) > 30 / 4  # the best gets more than its share


def test_coarse_to_fine_goes_from_the_net_to_stages_to_blocks():
    space = SearchSpace("preresnet-20", "block")
    proposer = new_proposer(space=space, trials=48, sampler="coarse-to-fine", references={})
    bits = [bits_of(p) for p in drive(proposer)]

    def is_pattern(text, blocks):  # every `blocks` blocks of two sites are alike
        parts = [text[i : i + 2 * blocks] for i in range(0, 18, 2 * blocks)]
        return all(part == part[:2] * blocks for part in parts)

    assert all(is_pattern(text, 9) for text in bits[:3])
    assert len(set(bits[:3])) == 3  # all but linear
    assert all(is_pattern(text, 3) for text in bits[:24])
    assert not all(is_pattern(text, 3) for text in bits[24:])


def test_a_search_begins_with_modules_and_the_fewest_relus():
    space = SearchSpace("plain-12", "site")
    proposer = new_proposer(space=space, trials=60, sampler="gp")
    kept = [bits_of(p).count("1") for p in drive(proposer)]
    assert kept[:9] == [10, 5, 0, 1, 1, 1, 1, 1, 1]  # paired, 2:1, linear, and six single ReLUs


def test_before_the_first_result_placements_are_random():
    space = SearchSpace("plain-12", "site")
    proposer = new_proposer(space=space, trials=60, sampler="gp", references={})
    kept = [bits_of(proposer.propose()).count("1") for _ in range(30)]
    assert kept[:9] == [1] * 9
    assert len(set(kept[9:])) > 3


@pytest.mark.parametrize(("trials", "repeats"), [(40, True), (70, False)])
def test_every_placement_comes_first_if_the_budget_is_three_times_their_number(trials, repeats):
    space = SearchSpace("plain-8", "stage", min_relus=3, max_relus=3)  # 20 placements
    assert space.size == 20
    proposer = new_proposer(space=space, trials=trials, references={}, sampler="gp")
    bits = [bits_of(p) for p in drive(proposer)]
    assert (len(set(bits[:20])) < 20) == repeats
