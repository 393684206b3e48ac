"""Early stopping with several objectives, against definitions written out here."""

from __future__ import annotations

import random

import pytest

from trials.early_stopping.pareto_halving import ParetoHalving, pareto_order
from trials.early_stopping.rule import EarlyStopping


def rule(mode="min", grace=1, factor=3, epochs=9):
    return EarlyStopping(
        metric="val_loss",
        mode=mode,
        max_epochs=epochs,
        grace_epochs=grace,
        reduction_factor=factor,
    )


def fronts(values):
    """Number of the Pareto front of each point, by peeling (Deb et al. 2002)."""
    rank, left = {}, set(range(len(values)))
    while left:
        front = {
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(values[j], values[i], strict=True))
                and values[j] != values[i]
                for j in left
            )
        }
        rank |= dict.fromkeys(front, len(set(rank.values())))
        left -= front
    return rank


@pytest.mark.parametrize(("seed", "objectives"), [(0, 1), (1, 2), (2, 2), (3, 3)])
def test_earlier_fronts_come_first(seed, objectives):
    rng = random.Random(seed)
    values = [tuple(rng.randrange(6) for _ in range(objectives)) for _ in range(25)]
    order = pareto_order(values)
    assert sorted(order) == list(range(25))
    rank = fronts(values)
    assert [rank[i] for i in order] == sorted(rank.values())


def test_within_a_front_the_ends_and_the_lonely_come_first():
    values = [(0.0, 10.0), (1.0, 9.0), (1.1, 8.9), (5.0, 5.0), (10.0, 0.0)]
    assert pareto_order(values) == [0, 4, 3, 2, 1]


def test_with_equal_costs_a_trial_passes_if_it_is_among_the_best_third():
    halving, seen = ParetoHalving(rule()), []
    rng = random.Random(1)
    for number in range(40):
        loss = rng.random()
        seen.append(loss)
        better = sum(other < loss for other in seen)
        expected = better < -(-len(seen) // 3)
        assert halving.goes_on(str(number), 1, loss, (7.0,)) == expected


def test_a_trial_on_the_front_of_few_goes_on_whatever_its_loss():
    halving = ParetoHalving(rule())
    for number in range(30):
        halving.goes_on(str(number), 1, 0.1 + number / 1000, (20.0,))
    assert halving.goes_on("cheap", 1, 2.0, (1.0,))
    assert not halving.goes_on("dear and bad", 1, 2.0, (21.0,))


def test_only_rungs_decide_and_each_once():
    halving = ParetoHalving(rule(grace=2))
    assert [halving.goes_on("a", epoch, 0.5, (1.0,)) for epoch in (1, 2, 3)] == [True] * 3
    assert not halving.goes_on("b", 2, 0.6, (2.0,))
    assert halving.goes_on("b", 2, 9.0, (2.0,))  # it was judged there
    assert not halving.goes_on("c", 2, float("nan"), (9.0,))
