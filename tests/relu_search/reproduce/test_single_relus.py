"""Influence of single ReLUs, worked out by hand."""

from __future__ import annotations

import math

import pytest
from helpers.reproducing import run_table

from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.single_relus import influence_lines, influences
from search_spaces import Backbone


def test_influences_by_hand():
    settings = ReproduceSettings(experiment="claims", data="digits", depths=(11,), width=4, seeds=3)
    name = "preresnet-bottleneck-11"
    runs = run_table(
        {
            (name, "paired"): [0.50, 0.60, 0.70],
            (name, "blocks.0.relu1"): [0.52, 0.62, 0.72],  # +2, +2, +2 points
            (name, "blocks.0.relu3"): [0.49, 0.60, 0.64],  # -1, 0, -6
            (name, "blocks.2.relu1"): [0.50, 0.64],  # 0, +4, one seed missing
            (name, "blocks.2.relu2"): [0.10],  # a single seed is no difference with a spread
        }
    )
    sites = [site.name for site in Backbone("preresnet-bottleneck", 11, 4).sites]
    assert {"blocks.0.relu1", "blocks.0.relu3", "blocks.2.relu1"} <= set(sites)
    found = {item.site: item for item in influences(settings, runs)}
    assert list(found) == ["blocks.0.relu1", "blocks.0.relu3", "blocks.2.relu1"]
    places = {site: (item.block, item.position, item.n) for site, item in found.items()}
    assert list(places.values()) == [(1, 1, 3), (1, 3, 3), (3, 1, 2)]
    first, second, third = found.values()
    assert (first.difference, first.low, first.high) == pytest.approx((2, 2, 2))
    assert first.noise == pytest.approx(0, abs=1e-9)
    # -1, 0, -6: mean -7/3, squares of deviations 16/9 + 49/9 + 121/9 = 186/9, variance 31/3
    error = math.sqrt(31 / 3 / 3)
    assert second.difference == pytest.approx(-7 / 3)
    assert second.low == pytest.approx(-7 / 3 - 4.302653 * error, abs=1e-5)
    assert second.high == pytest.approx(-7 / 3 + 4.302653 * error, abs=1e-5)
    assert second.noise == pytest.approx(error * math.sqrt(2 / math.pi))
    # 0, 4: mean 2, std sqrt(8), error 2, t of one degree of freedom 12.706
    assert (third.difference, third.high) == pytest.approx((2, 2 + 12.7062 * 2), abs=1e-3)


def test_influence_lines_average_over_sites_and_positions():
    settings = ReproduceSettings(experiment="claims", data="digits", depths=(11,), width=4, seeds=3)
    name = "preresnet-bottleneck-11"
    runs = run_table(
        {
            (name, "paired"): [0.50, 0.60],
            (name, "blocks.0.relu1"): [0.40, 0.50],  # -10 and -10
            (name, "blocks.2.relu1"): [0.50, 0.64],  # 0 and +4: error 2, noise 1.596
            (name, "blocks.2.relu2"): [0.50, 0.54],  # 0 and -6: error 3, noise 2.394
        }
    )
    lines = influence_lines(influences(settings, runs))
    assert lines == [
        f"{name}, all ReLUs: mean |influence| 5.00 points over 3 sites; seed noise alone would "
        "give 1.33",
        f"{name}, ReLU 1 of its block: mean |influence| 6.00 points over 2 sites; seed noise "
        "alone would give 0.80",
        f"{name}, ReLU 2 of its block: mean |influence| 3.00 points over 1 sites; seed noise "
        "alone would give 2.39 (not resolved)",
    ]
