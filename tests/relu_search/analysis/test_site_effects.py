"""Influence, importance and Shapley values of sites, against hand computation and scipy."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from helpers.trial_tables import accuracy_table, loss_table
from scipy.stats import t

from relu_search.analysis.site_effects import (
    importance_of,
    shapley,
    site_importance,
    site_influence,
    welch,
)
from relu_search.settings.metrics import METRICS
from search_spaces import Backbone, InputError

NET = Backbone.parse("plain-8", 4)
LOSS, ACCURACY = METRICS["val_loss"], METRICS["val_accuracy"]


def test_influence_by_hand():
    trials = accuracy_table(("100000", 0.8), ("100001", 0.6), ("000000", 0.3), ("000001", 0.5))
    table = site_influence(trials, NET, ACCURACY)
    first, last = table.iloc[0], table.iloc[5]
    assert first["difference"] == pytest.approx(0.7 - 0.4)
    assert last["difference"] == pytest.approx(0.55 - 0.55)
    assert (first["kept"], first["dropped"], first["stage"]) == (2, 2, 0)
    # Both variances are 0.02: two degrees of freedom, standard error sqrt(0.02 / 2 * 2).
    reach = 4.302653 * math.sqrt(0.02)
    assert first["low"] == pytest.approx(0.3 - reach, abs=1e-6)
    assert first["high"] == pytest.approx(0.3 + reach, abs=1e-6)


def test_a_site_that_never_varies_has_no_influence():
    table = site_influence(accuracy_table(("100000", 0.8), ("110000", 0.6)), NET, ACCURACY)
    assert math.isnan(table["difference"][0])
    assert (table["kept"][0], table["dropped"][0]) == (2, 0)
    assert table["difference"][1] == pytest.approx(-0.2)
    assert math.isnan(table["low"][1])


def test_a_placement_of_another_net_is_refused():
    with pytest.raises(InputError, match="sites"):
        site_influence(accuracy_table(("1*5", 0.5)), NET, ACCURACY)


@pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 40)])
def test_the_interval_is_welchs(n, m):
    """By Welch's formula, each tail of Student's t has 2.5 %."""
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 3, n), rng.normal(0, 1, m)
    va, vb = a.var(ddof=1) / n, b.var(ddof=1) / m
    freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (m - 1))
    difference, low, high = welch(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert (low + high) / 2 == pytest.approx(difference)
    assert 2 * t.sf((high - difference) / math.sqrt(va + vb), freedom) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("a", "b", "known"),
    [
        ([], [1.0], 0),
        ([2.0], [1.0, 3.0], 1),
        ([2.0, 2.0], [1.0, 1.0], 1),
        ([2.0, 2.0], [0.0, 3.0], 3),
    ],
)
def test_small_and_constant_samples_have_no_interval(a, b, known):
    found = welch(np.array(a), np.array(b))
    assert sum(math.isfinite(value) for value in found) == known


def orders(worth, sites):
    """Shapley values by their first definition: the mean over all orders."""
    total = np.zeros(sites)
    for order in permutations(range(sites)):
        kept = 0
        for site in order:
            more = kept | 1 << (sites - 1 - site)
            total[site] += worth[more] - worth[kept]
            kept = more
    return total / len(list(permutations(range(sites))))


@pytest.mark.parametrize("sites", [1, 2, 5])
def test_shapley_values_are_the_mean_over_all_orders(sites):
    worth = np.random.default_rng(sites).standard_normal(2**sites)
    assert shapley(worth) == pytest.approx(orders(worth, sites))
    assert shapley(worth).sum() == pytest.approx(worth[-1] - worth[0])


def test_shapley_needs_every_placement():
    with pytest.raises(InputError, match="2\\*\\*sites"):
        shapley(np.zeros(6))


def test_both_importances_find_the_site_that_matters():
    backbone = Backbone.parse("plain-8")
    rng = np.random.default_rng(0)
    points = rng.integers(2, size=(60, 6))
    losses = 1.0 + points[:, 3] + 0.05 * rng.random(60)
    bits = ["".join(map(str, p)) for p in points]
    shares = importance_of(bits, losses, LOSS, backbone)
    for share in shares.values():
        assert int(share.argmax()) == 3
        assert share.sum() == pytest.approx(1)
    found = site_importance(loss_table(bits, losses), backbone, LOSS)
    assert list(found["fanova"]) == list(shares["fanova"])
    assert site_importance(loss_table(bits[:5], losses[:5]), backbone, LOSS)["fanova"].isna().all()


def test_importances_are_worked_out_in_silence():
    """In a process of its own: elsewhere another module may have silenced Optuna."""
    code = (
        "from relu_search.analysis.site_effects import importance_of\n"
        "from relu_search.settings.metrics import METRICS\n"
        "from search_spaces import Backbone\n"
        "import numpy as np\n"
        "bits = [format(i, '06b') for i in range(20)]\n"
        "importance_of(bits, np.arange(20.0), METRICS['val_loss'], Backbone.parse('plain-8', 4))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
