"""verdict.csv, worked out again from confirm.csv by scipy, statsmodels and by hand."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.judging import HERE, PLACEMENTS, Runner, make_search
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from relu_search import confirm
from relu_search.cli.console import print_json
from relu_search.confirmation import verdict_table
from relu_search.confirmation.arms import Arm
from relu_search.confirmation.verdict_table import (
    answer_of,
    shrinkage_lines,
    verdict_rows,
    verdict_words,
)
from relu_search.statistics.far_runs import far_runs
from relu_search.statistics.paired_tests import skewed_p
from search_spaces import Placement
from trials.training.checkpoint import save_weights

COLUMNS = (
    *("arm", "versus", "placement", "ratio", "relus", "n", "mean", "std", "reference_mean"),
    *("difference", "spread", "t_low", "t_high", "bca_low", "bca_high", "p_t", "p_t_holm"),
    *("p_sign_flip", "hedges_g", "p_superior", "p_tost", "p_tost_holm", "margin", "look", "level"),
    *("least_seeds", "verdict", "more_seeds", "diverged"),
    *("dropped_after", "search_accuracy", "confirmed_val_accuracy", "shrinkage", "start"),
)
RATIOS = {"paired": "1:1", "2:1": "2:1", "linear": "1:0", "trial 5": "6:5", "trial 3": "6:5"}
SEARCH = {"paired": 0.50, "2:1": 0.60, "linear": 0.40, "trial 5": 0.70, "trial 3": 0.55}
SEEDS = 9


def validation(placement, seed):
    """All alike but for the linear control, which is hopeless."""
    middle = 0.1 if placement == "0*6" else 0.5
    return middle + random.Random(f"{placement} {seed}").uniform(-0.01, 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A search whose confirmation has fitted, untrained, diverged and failed runs."""
    folder = make_search(tmp_path_factory.mktemp("judged") / "run")
    failing = {
        ("1*5+0", 2): "diverged: training loss became nan in epoch 2",
        ("0*6", 3): "ValueError: no such luck",
    }
    runner = Runner(accuracy=validation, failing=failing, fitted=("01*3", "0+1*5", "1*5+0"))
    confirm(folder, seeds=SEEDS, compute=HERE, racing=False, runner=runner)
    return folder


@pytest.fixture(scope="module", params=[0.3, 10], ids=["margin 0.3", "margin 10"])
def judged(request, folder):
    """(runs, verdicts, margin): the two tables; judging once more trains nothing."""
    margin = request.param / 100

    failing = {("0*6", 3): "ValueError: no such luck"}  # the only run that is left
    runner = Runner(accuracy=validation, failing=failing)
    confirm(folder, seeds=SEEDS, margin=margin, compute=HERE, racing=False, runner=runner)
    assert runner.calls == [("0*6", 3)]
    runs = pd.read_csv(folder / "confirm.csv")
    texts = {"more_seeds": str, "dropped_after": str}
    verdicts = pd.read_csv(folder / "verdict.csv", dtype=texts, keep_default_na=False)
    return runs, verdicts, margin


def scores_of(runs, arm):
    mine = runs[(runs["arm"] == arm) & runs["test_accuracy"].notna()]
    return mine.set_index("seed")["test_accuracy"].sort_index()


def pairs(runs, arm, versus):
    both = pd.concat([scores_of(runs, arm), scores_of(runs, versus)], axis=1, join="inner")
    return both.iloc[:, 0].to_numpy(), both.iloc[:, 1].to_numpy()


def brute_sign_flip(differences):
    signs = itertools.product((1, -1), repeat=len(differences))
    flips = [abs((differences * s).mean()) for s in signs]
    return np.mean([flip >= abs(differences.mean()) - 1e-12 for flip in flips])


def test_the_columns_are_those_of_the_contract(judged):
    _, verdicts, _ = judged
    assert tuple(verdicts.columns) == COLUMNS


def test_every_arm_is_held_against_paired_and_the_best_module(judged):
    runs, verdicts, _ = judged
    means = {arm: scores_of(runs, arm).mean() for arm in ("paired", "2:1")}
    assert max(means, key=means.get) == "2:1"
    found = list(zip(verdicts["arm"], verdicts["versus"], strict=True))
    arms = [*RATIOS]
    expected = [(a, v) for v in ("paired", "2:1") for a in arms if a != v]
    expected.remove(("paired", "2:1"))  # the same pair as 2:1 against paired
    assert found == expected


def test_the_case_is_not_trivial(judged):
    """Fixture check: unequal n, a diverged run, and several kinds of verdict."""
    runs, verdicts, _ = judged
    assert set(verdicts["n"]) == {SEEDS - 1, SEEDS}
    assert (runs["state"] == "DIVERGED").sum() == 1
    kinds = set(verdicts["verdict"])
    assert {"better", "inconclusive"} <= kinds


def test_means_and_spreads(judged):
    runs, verdicts, margin = judged
    for row in verdicts.itertuples():
        a, b = pairs(runs, row.arm, row.versus)
        assert row.n == len(a)
        assert row.mean == pytest.approx(sum(a) / len(a), abs=1e-12)
        assert row.std == pytest.approx(math.sqrt(((a - a.mean()) ** 2).sum() / (len(a) - 1)))
        assert row.reference_mean == pytest.approx(b.mean(), abs=1e-12)
        assert row.difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
        assert row.margin == pytest.approx(margin)


def test_t_tests_and_intervals(judged):
    runs, verdicts, margin = judged
    for row in verdicts.itertuples():
        a, b = pairs(runs, row.arm, row.versus)
        expected = stats.ttest_rel(a, b)
        low, high = expected.confidence_interval(0.95)
        assert (row.t_low, row.t_high) == pytest.approx((low, high), abs=1e-12)
        assert row.p_t == pytest.approx(expected.pvalue, rel=1e-9)
        assert row.p_tost == pytest.approx(ttost_paired(a, b, -margin, margin)[0], rel=1e-9)


def test_bootstrap_intervals(judged):
    """BCa with 9,999 resamples drawn from numpy's generator of seed 0."""
    runs, verdicts, _ = judged
    for row in verdicts.itertuples():
        a, b = pairs(runs, row.arm, row.versus)
        expected = stats.bootstrap(
            (a - b,), np.mean, n_resamples=9_999, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
        assert (row.bca_low, row.bca_high) == pytest.approx((expected.low, expected.high))


def test_sign_flips_by_brute_force(judged):
    runs, verdicts, _ = judged
    for row in verdicts.itertuples():
        a, b = pairs(runs, row.arm, row.versus)
        assert row.p_sign_flip == pytest.approx(brute_sign_flip(a - b), abs=1e-12)


def test_effect_sizes(judged):
    runs, verdicts, _ = judged
    for row in verdicts.itertuples():
        a, b = pairs(runs, row.arm, row.versus)
        pooled = math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
        factor = 1 - 3 / (4 * (2 * len(a) - 2) - 1)
        assert row.hedges_g == pytest.approx((a.mean() - b.mean()) / pooled * factor)
        wins = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
        assert row.p_superior == pytest.approx(wins)
        by_hand = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
        assert row.p_superior == pytest.approx(by_hand)


def test_all_comparisons_are_one_family(judged):
    """Seven pairs: the factor is seven until both nulls of a pair are rejected.

    Some runs lie far from the others, so the t tests are corrected for skewness, and the
    differences must exceed what missed runs would change.
    """
    runs, verdicts, _ = judged
    scores = {arm: scores_of(runs, arm).to_dict() for arm in PLACEMENTS}
    far = far_runs(scores, [(row.arm, row.versus) for row in verdicts.itertuples()])
    assert far
    assert len(verdicts) == 7
    p_values = [
        min(skewed_p(np.subtract(*pairs(runs, row.arm, row.versus)), far.shift(row.n)), row.p_tost)
        for row in verdicts.itertuples()
    ]
    adjusted = verdicts[["p_t_holm", "p_tost_holm"]].min(axis=1)
    assert adjusted.min() == pytest.approx(7 * min(p_values), rel=1e-9)
    for raw, holm in (("p_t", "p_t_holm"), ("p_tost", "p_tost_holm")):
        assert (verdicts[holm] >= verdicts[raw]).all()
        assert (verdicts[holm] <= np.minimum(1, 7 * verdicts[raw].cummax().max() + 1)).all()


def test_verdicts_follow_the_stated_rule(judged):
    """With a confirmation that was judged before at the same seeds: its verdicts stand."""
    _, verdicts, _ = judged
    for row in verdicts.itertuples():
        assert row.level == pytest.approx(0.04 * 3 * (1 / 3 - 1 / row.n))
        if row.p_t_holm <= row.level and row.p_sign_flip <= 0.05:
            expected = "better" if row.difference > 0 else "worse"
        else:
            equal = row.p_tost_holm <= row.level and row.n >= row.least_seeds
            expected = "equivalent" if equal else "inconclusive"
        assert row.verdict == expected


def test_only_inconclusive_comparisons_ask_for_seeds(judged):
    _, verdicts, _ = judged
    for row in verdicts.itertuples():
        assert row.verdict == "inconclusive" or row.more_seeds == ""


def test_diverged_runs_are_counted(judged):
    runs, verdicts, _ = judged
    for row in verdicts.itertuples():
        mine = runs[runs["arm"] == row.arm]
        assert row.diverged == (mine["state"] == "DIVERGED").sum()
        assert row.dropped_after == ""


def test_an_arm_that_has_every_seed_is_not_called_stopped():
    """Its last training had begun when the race decided: it lost nothing."""
    parts = {"paired": range(6), "late": range(6), "stopped": range(4)}
    runs = pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "state": "COMPLETE",
            "test_accuracy": 0.5 + random.Random(f"{arm} {seed}").uniform(-0.01, 0.01),
            "val_accuracy": 0.5,
        }
        for arm, seeds in parts.items()
        for seed in seeds
    )
    arms = [
        Arm(
            name=name,
            origin="module" if name == "paired" else "found",
            placement=Placement.parse(text),
            ratio="1:1",
            search_trial=None,
            search_accuracy=None,
        )
        for name, text in zip(parts, ("111111", "010101", "101010"), strict=True)
    ]
    rows = verdict_rows(runs, arms, margin=0.01, dropped_after={"late": 5, "stopped": 4})
    assert {row["arm"]: row["dropped_after"] for row in rows} == {"late": None, "stopped": 4}
    words = {row["arm"]: verdict_words(row) for row in rows}
    assert "racing" not in words["late"]
    assert words["stopped"].endswith("; stopped by racing after 4 seeds")


def test_facts_of_the_arms_and_their_shrinkage(judged):
    runs, verdicts, _ = judged
    for row in verdicts.itertuples():
        mine = runs[(runs["arm"] == row.arm) & runs["test_accuracy"].notna()]
        assert (row.placement, row.ratio) == (PLACEMENTS[row.arm], RATIOS[row.arm])
        bits = {"1*6": 6, "01*3": 3, "0*6": 0, "0+1*5": 5, "1*5+0": 5}
        assert row.relus == bits[row.placement]
        assert row.search_accuracy == SEARCH[row.arm]
        assert row.confirmed_val_accuracy == pytest.approx(mine["val_accuracy"].mean())
        shrunk = SEARCH[row.arm] - mine["val_accuracy"].mean()
        assert row.shrinkage == pytest.approx(shrunk, abs=1e-12)


def test_a_diverged_run_is_scored_at_chance(judged):
    runs, _, _ = judged
    (row,) = runs[runs["state"] == "DIVERGED"].to_dict("records")
    assert (row["arm"], row["seed"], row["test_accuracy"]) == ("trial 3", 2, 0.1)
    assert row["reason"].startswith("diverged")


def test_arms_without_any_spread_can_be_printed_as_json(tmp_path, capsys):
    """Networks that always answer the same class, as after a very short training."""

    def constant(spec, data, *, save_to, **options):
        result = Runner()(spec, data, save_to=None, **options)
        always = 1 if spec.placement.text == "0*6" else 8
        result.model.classifier.weight.data.zero_()
        result.model.classifier.bias.data = torch.eye(10)[always]
        save_weights(result.model, save_to)
        return result

    folder = make_search(tmp_path / "run")
    outcome = confirm(folder, seeds=2, top=0, compute=HERE, runner=constant)
    print_json({"verdicts": outcome.verdicts})
    rows = json.loads(capsys.readouterr().out)["verdicts"]
    assert {row["arm"] for row in rows} == {"2:1", "linear"}


@pytest.mark.parametrize(
    ("found", "confirmed", "says"),
    [(0.977, 0.96, "1.7 points lower"), (0.5, 0.525, "2.5 points higher")],
)
def test_the_change_on_fresh_seeds_is_said_in_points_once_for_each_found_arm(
    found, confirmed, says
):
    row = {"arm": "trial 20", "placement": "10*6", "search_accuracy": found}
    row |= {"confirmed_val_accuracy": confirmed, "shrinkage": found - confirmed}
    module = {**row, "arm": "2:1"}
    unknown = {**row, "arm": "trial 3", "search_accuracy": None, "shrinkage": None}
    (line,) = shrinkage_lines([row, module, unknown, row])
    assert line == (
        f"trial 20 (10*6): validation accuracy {found:.1%} in the search, {says} on fresh seeds "
        f"({confirmed:.1%})"
    )


def made_up_arms(rng):
    """Two or three modules and up to three found placements: arms and their runs."""
    names = ["paired", "2:1", *["3:2"] * rng.integers(0, 2)]
    names += [f"trial {i}" for i in range(rng.integers(1, 4))]
    levels = 0.8 + rng.normal(0, 0.01, len(names))
    arms, rows = [], []
    for place, name in enumerate(names):
        arms.append(
            Arm(
                name=name,
                origin="found" if name.startswith("trial") else "module",
                placement=Placement(f"{place + 1:06b}"),
                ratio="2:1",
                search_trial=None,
                search_accuracy=None,
            )
        )
        for seed in range(rng.integers(5, 12)):
            accuracy = levels[place] + rng.normal(0, 0.005)
            rows.append({"arm": name, "seed": seed, "state": "COMPLETE", "test_accuracy": accuracy})
    return arms, pd.DataFrame(rows).assign(val_accuracy=0.5)


def contradictions(count, seed, monkeypatch):
    """How many of `count` random confirmations show a pair of arms twice."""
    judge_quickly = functools.partial(verdict_table.judge, resamples=99)
    monkeypatch.setattr(verdict_table, "judge", judge_quickly)
    rng = np.random.default_rng(seed)
    twice = 0
    for _ in range(count):
        arms, runs = made_up_arms(rng)
        rows = verdict_rows(runs, arms, margin=0.01, dropped_after={})
        shown = [frozenset((row["arm"], row["versus"])) for row in rows]
        assert len({frozenset((arm.name, "paired")) for arm in arms[1:]} - {*shown}) == 0
        twice += len(shown) > len({*shown})
    return twice


def test_no_pair_of_arms_is_shown_twice(monkeypatch):
    assert contradictions(20, 0, monkeypatch) == 0


@pytest.mark.slow
def test_no_pair_of_arms_is_shown_twice_in_1000_random_confirmations(monkeypatch):
    assert contradictions(1000, 1, monkeypatch) == 0


def test_a_single_other_comparison_has_its_sentence_and_several_are_counted(judged):
    _, verdicts, _ = judged
    texts = ["more_seeds", "dropped_after"]
    rows = verdicts.assign(**verdicts[texts].apply(pd.to_numeric)).to_dict("records")
    found = max((row for row in rows if row["arm"].startswith("trial")), key=lambda r: r["mean"])
    best = [row for row in rows if row["arm"] == found["arm"]]
    others = [row for row in rows if row["arm"] == "2:1"]
    assert answer_of([*best, *others])[-1].startswith("2:1 ")
    assert answer_of(rows)[-1].startswith(f"The other {len(rows) - len(best)} comparisons: ")


@pytest.mark.parametrize(
    ("more", "words"),
    [(1, "about 1 more seed"), (2, "about 2 more seeds"), (None, "more than 1,000 seeds")],
)
def test_the_seeds_that_are_needed_are_told(more, words):
    row = {"verdict": "inconclusive", "mean": 0.6, "reference_mean": 0.5, "margin": 0.003}
    row |= {"more_seeds": more, "diverged": 0, "dropped_after": None}
    assert verdict_words(row) == f"inconclusive, {words} needed"
