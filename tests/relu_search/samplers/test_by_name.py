"""Samplers by name: what is refused, the order of the grid, and that TPE learns."""

from __future__ import annotations

from statistics import mean

import pytest
from helpers.replay import bits_of, drive, metrics, new_proposer

from search_spaces import InputError, SearchSpace
from trials.training.metrics import EpochMetrics


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match=r"anneal.*tpe"):
        new_proposer(trials=3, sampler="anneal")


def test_grid_refuses_a_space_that_cannot_be_enumerated():
    with pytest.raises(InputError, match="granularity"):
        new_proposer(space=SearchSpace("plain-38", "block"), trials=3, sampler="grid")


def test_grid_visits_in_another_order_for_another_seed():
    orders = [
        [p.spec.placement.text for p in drive(new_proposer(trials=64, sampler="grid", seed=seed))]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_tpe_learns_from_what_it_observes():
    """Reward is the share of dropped ReLUs: TPE must propose more of it than chance does."""
    space = SearchSpace("plain-38", "block")
    proposer = new_proposer(space=space, trials=60, references={}, seed=2)
    kept = []
    while (proposal := proposer.propose()) is not None:
        kept.append(bits_of(proposal).count("1"))
        reward = {**metrics("", 3).to_json(), "val_accuracy": 1 - kept[-1] / 36}
        proposer.observe(proposal.number, EpochMetrics(**reward))
        proposer.conclude(proposal.number, None)
    assert mean(kept[-20:]) < 0.8 * mean(kept[:10])
