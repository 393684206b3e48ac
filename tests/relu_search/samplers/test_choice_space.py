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


@pytest.mark.parametrize(
    ("backbone", "granularity", "low", "fewest"),
    [
        ("plain-8", "site", 1, [1] * 6 + [2] * 15),
        ("plain-8", "site", 3, [3] * 20 + [4]),
        ("preresnet-8", "block", 0, [0] + [1] * 6 + [2]),
        ("plain-62", "site", 1, [1] * 40),  # too large to list
        ("plain-62", "stage", 1, [10] * 6),
    ],
)
def test_sparse_points_have_the_fewest_relus_and_are_new(backbone, granularity, low, fewest):
    space = SearchSpace(backbone, granularity, min_relus=low)
    points, rng = ChoiceSpace.of(space), np.random.default_rng(0)
    seen: set[tuple[int, ...]] = set()
    kept = []
    for _ in fewest:
        point = points.draw_sparse(seen, rng)
        names = sorted(space.choices)
        labels = {n: space.choices[n][i] for n, i in zip(names, point, strict=True)}
        kept.append(space.decode(labels).kept)
        assert point not in seen
        seen.add(point)
    assert kept == fewest


def test_no_sparse_point_is_left_once_all_were_seen():
    points = ChoiceSpace.of(SearchSpace("plain-8", "network"))
    assert (
        points.draw_sparse({tuple(p) for p in points.pool.tolist()}, np.random.default_rng(0))
        is None
    )
    assert ChoiceSpace.free((2, 2)).draw_sparse(set(), np.random.default_rng(0)) is None
