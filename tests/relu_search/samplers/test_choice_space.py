"""Points within the limits of a search space: all of them, neighbours, random ones."""

from __future__ import annotations

import numpy as np
import pytest

from relu_search.samplers.choice_space import ChoiceSpace
from search_spaces import SearchSpace


@pytest.mark.parametrize(
    ("backbone", "granularity"),
    [("plain-8", "network"), ("dfn-14", "stage"), ("plain-8", "block"), ("dfn-14", "site")],
)
def test_a_choice_space_admits_what_its_space_admits(backbone, granularity):
    space = SearchSpace(backbone, granularity, min_relus=2, max_relus=4, norm="search")
    points = ChoiceSpace.of(space)
    expected = {tuple(sorted(space.encode(p).items())) for p in space.enumerate()}
    names = sorted(space.choices)
    pool = {
        tuple((n, space.choices[n][i]) for n, i in zip(names, point, strict=True))
        for point in points.pool.tolist()
    }
    assert pool == expected
    rng = np.random.default_rng(0)
    for _ in range(20):
        point = points.draw(rng)
        near = [point, *points.neighbours(point)]
        for p in near:
            params = {n: space.choices[n][i] for n, i in zip(names, p, strict=True)}
            assert space.admits(space.decode(params))


def test_at_a_fixed_ratio_neighbours_swap_two_sites():
    points = ChoiceSpace.of(SearchSpace("plain-8", "site", min_relus=3, max_relus=3))
    near = points.neighbours((1, 1, 1, 0, 0, 0))
    assert len(near) == 9
    assert all(sum(point) == 3 for point in near)
