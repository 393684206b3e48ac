"""Ratios on fresh seeds: intervals that hold together, and the set of the best ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from relu_search.ratios.curve import ratio_curve

NAMES = ("1:1", "2:1", "3:1", "4:1", "6:1")


def scores_of(table):
    """(ratios, seeds) -> ratio -> seed -> accuracy."""
    return {name: dict(enumerate(map(float, row))) for name, row in zip(NAMES, table, strict=False)}


def drawn(means, seeds, rng):
    """Accuracies with noise that all ratios share, and noise of their own."""
    shared = rng.normal(size=seeds)
    return np.array([mean + 0.01 * (shared + rng.normal(size=seeds)) for mean in means])


def test_the_intervals_are_those_of_bonferroni():
    table = drawn([0.5, 0.6, 0.7], 6, np.random.default_rng(0))
    for point, row in zip(ratio_curve(scores_of(table)).points, table, strict=True):
        interval = stats.ttest_1samp(row, 0).confidence_interval(1 - 0.05 / 3)
        assert (point.low, point.high) == pytest.approx(interval)
        assert (point.n, point.mean) == (6, pytest.approx(row.mean()))


def test_no_interval_leaves_the_accuracies_that_there_are():
    low, high = ratio_curve({"1:1": {1: 0.0, 2: 0.2}, "2:1": {1: 1.0, 2: 0.8}}).points
    assert (low.low, high.high) == (0, 1)


def test_a_ratio_is_excluded_by_a_one_sided_paired_test_against_another():
    rng, asked = np.random.default_rng(1), 0
    for _ in range(40):
        table = drawn([0.60, 0.605, 0.59], 6, rng)
        found = ratio_curve(scores_of(table))
        p = [
            min(
                stats.ttest_rel(table[i], table[j], alternative="less").pvalue
                for j in range(3)
                if j != i
            )
            for i in range(3)
        ]
        if not found.far:
            asked += 1
            assert [point.in_set for point in found.points] == [value >= 0.05 / 2 for value in p]
    assert asked > 20


@pytest.mark.parametrize("means", [(0.6,) * 5, (0.60, 0.61, 0.615, 0.61, 0.59)], ids=str)
def test_the_set_contains_the_best_ratio_and_the_intervals_hold_in_95_percent(means):
    """Of 500 confirmations; 93 % is three standard errors below."""
    rng = np.random.default_rng(2)
    best = NAMES[int(np.argmax(means))]
    held = together = 0
    for _ in range(500):
        found = ratio_curve(scores_of(drawn(means, 6, rng)))
        by_name = {point.ratio: point for point in found.points}
        held += by_name[best].in_set
        together += all(
            by_name[name].low <= mean <= by_name[name].high
            for name, mean in zip(NAMES, means, strict=True)
        )
    assert held >= 0.93 * 500
    assert together >= 0.93 * 500


def test_a_ratio_that_is_far_ahead_is_alone_in_the_set():
    table = drawn([0.5, 0.6, 0.9], 6, np.random.default_rng(3))
    found = ratio_curve(scores_of(table))
    assert found.sentence() == "The best ratio of these is 3:1 (95 %)."
    assert [point["in_set"] for point in found.to_json()["ratios"]] == [False, False, True]


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ((0.6, 0.6, 0.6), "The ratios 1:1, 2:1 and 3:1 cannot be told apart yet."),
        ((0.1, 0.6, 0.6), "The best ratio of these is among 2:1 and 3:1 (95 %)."),
    ],
)
def test_the_sentence_names_the_set(means, sentence):
    table = drawn(means, 6, np.random.default_rng(4))
    assert ratio_curve(scores_of(table)).sentence() == sentence


@pytest.mark.parametrize(
    "table",
    [
        [[0.1, 0.12, 0.11, 0.1, 0.13], [0.8, 0.81, 0.83, 0.8, 0.82]],
        [[0.1] * 6, [0.9] * 6],
        [[0.1], [0.9]],
    ],
    ids=["five seeds", "no noise", "one seed"],
)
def test_with_few_seeds_or_without_noise_nothing_is_excluded(table):
    found = ratio_curve(scores_of(table))
    assert all(point.in_set for point in found.points)
    assert ("This needs 6 seeds or more." in found.sentence()) == (len(table[0]) < 6)


def test_only_seeds_that_two_ratios_share_are_compared():
    table = scores_of(drawn([0.5, 0.9], 6, np.random.default_rng(5)))
    table["2:1"] = {seed + 100: value for seed, value in table["2:1"].items()}
    assert all(point.in_set for point in ratio_curve(table).points)


def two_modes(seeds, rng, noise=0.01):
    """Accuracies of five equal ratios; one run in four ends far below."""
    low = rng.random((5, seeds)) < 0.25
    return 0.6 - 0.2 * (low - 0.25) + noise * rng.normal(size=(5, seeds))


def test_a_run_far_from_the_others_asks_for_more_seeds():
    table = drawn([0.60, 0.62, 0.62], 8, np.random.default_rng(6))
    assert ratio_curve(scores_of(table)).far.least_seeds == 6
    table[1, 3] = 0.3
    found = ratio_curve(scores_of(table))
    assert found.far.least_seeds == 23  # three pairs: 3 * 0.75**23 <= 0.005
    assert all(point.in_set for point in found.points)
    assert "Fewer than 23 seeds can miss such runs" in found.sentence()


def test_with_two_modes_the_best_ratio_is_seldom_left_out():
    """One ratio has no second mode, so its runs vary little and seem to be ahead of the others."""
    rng = np.random.default_rng(7)
    for seeds in (6, 27):
        held = np.zeros(5)
        for _ in range(300):
            table = two_modes(seeds, rng)
            table[0] = 0.6 + 0.01 * rng.normal(size=seeds)
            held += [point.in_set for point in ratio_curve(scores_of(table)).points]
        assert held.min() >= 0.93 * 300


def test_an_overwhelming_gap_needs_no_more_seeds():
    table = drawn([0.2, 0.62, 0.62], 8, np.random.default_rng(8))
    table[1, 3] = 0.55
    found = ratio_curve(scores_of(table))
    assert found.far.least_seeds == 23
    assert [point.in_set for point in found.points] == [False, True, True]
