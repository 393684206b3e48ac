"""Shrunken means and importances, against definitions and simulated truths."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from relu_search.analysis.estimates import FEWEST_TO_SHRINK, estimates
from relu_search.analysis.leaderboard import leaderboard_rows, ranked
from relu_search.analysis.site_effects import importance_of, shapley, site_importance
from search_spaces import Backbone, InputError


def table(bits, losses, seeds=None):
    return pd.DataFrame(
        {
            "trial": range(len(bits)),
            "state": "COMPLETE",
            "module": "",
            "placement": bits,
            "ratio": "",
            "relus": [text.count("1") for text in bits],
            "seed": seeds if seeds is not None else 0,
            "epochs": 3,
            "val_accuracy": np.exp(-np.asarray(losses)),
            "val_loss": losses,
            "reason": "",
        }
    )


def noisy(seed, count=40, noise=0.3):
    """Additive truth in log loss, one noisy run each: (bits, losses, truths)."""
    rng = np.random.default_rng(seed)
    points = rng.integers(2, size=(count, 6))
    truth = points @ np.array([0.5, -0.4, 0.3, 0.0, 0.1, -0.2])
    losses = np.exp(truth + noise * rng.standard_normal(count))
    return ["".join(map(str, p)) for p in points], losses, np.exp(truth)


def test_shrunken_means_are_nearer_to_the_truth_than_single_runs():
    ours, raw = [], []
    for seed in range(10):
        bits, losses, truth = noisy(seed)
        known = estimates(table(bits, losses), "val_loss")["estimate"]
        ours.append(np.mean((np.log(known[bits]) - np.log(truth)) ** 2))
        raw.append(np.mean((np.log(losses) - np.log(truth)) ** 2))
    assert np.mean(ours) < 0.4 * np.mean(raw)


def test_a_run_far_below_all_others_keeps_its_own_value():
    bits, losses, _ = noisy(0)
    once = next(i for i, text in enumerate(bits) if bits.count(text) == 1)
    losses[once] = 60.0
    known = estimates(table(bits, losses), "val_loss")
    assert known.loc[bits[once], "estimate"] == 60.0
    assert np.isnan(known.loc[bits[once], "sd"])
    assert known["sd"].drop(bits[once]).notna().all()


def test_two_sd_hold_the_truth_about_as_often_as_they_should():
    inside = []
    for seed in range(10):
        bits, losses, truth = noisy(seed)
        known = estimates(table(bits, losses), "val_loss")
        of_truth = dict(zip(bits, truth, strict=True))
        for text, row in known.iterrows():
            inside.append(abs(row["estimate"] - of_truth[text]) < 2 * row["sd"])
    assert 0.85 < np.mean(inside) <= 1


def test_few_trials_are_not_shrunken():
    bits, losses, _ = noisy(0, count=FEWEST_TO_SHRINK - 1)
    known = estimates(table(bits, losses), "val_loss")
    means = pd.Series(losses).groupby(pd.Series(bits)).mean()
    assert known["estimate"].to_dict() == pytest.approx(means.to_dict())
    assert known["sd"].isna().all()


def test_repeated_seeds_are_one_row_of_their_mean():
    bits, losses, _ = noisy(3, count=20)
    best = int(np.argmin(losses))
    trials = table([*bits, bits[best]], [*losses, losses[best] * 1.05])
    rows = [cells for _, cells in leaderboard_rows(trials, "val_loss")]
    row = next(cells for cells in rows if cells[1] == bits[best])
    runs = trials[trials["placement"] == bits[best]]
    assert row[4] == str(len(runs))
    assert row[6] == f"{runs['val_loss'].mean():.3f}"
    assert "±" in row[7]
    assert sum(cells[1] == bits[best] for cells in rows) == 1


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_a_lucky_run_does_not_lead(metric):
    bits, losses, _ = noisy(5, noise=0.02)
    worst = bits[int(np.argmax(losses))]
    trials = table([*bits, worst], [*losses, losses.min() * 0.9], seeds=[0] * 40 + [1])
    assert ranked(trials, metric)["placement"].iloc[0] != worst


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
    shares = importance_of(bits, losses, "val_loss", backbone)
    for share in shares.values():
        assert int(share.argmax()) == 3
        assert share.sum() == pytest.approx(1)
    found = site_importance(table(bits, losses), backbone, "val_loss")
    assert list(found["fanova"]) == list(shares["fanova"])
    assert site_importance(table(bits[:5], losses[:5]), backbone, "val_loss")["fanova"].isna().all()


def test_importances_are_worked_out_in_silence():
    """In a process of its own: elsewhere another module may have silenced Optuna."""
    code = (
        "from relu_search.importance import importance_of\n"
        "from search_spaces import Backbone\n"
        "import numpy as np\n"
        "bits = [format(i, '06b') for i in range(20)]\n"
        "importance_of(bits, np.arange(20.0), 'val_loss', Backbone.parse('plain-8', 4))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
