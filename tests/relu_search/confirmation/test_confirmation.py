"""A confirmation from end to end: who competes, on what, how often, and who sees the test split."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers.judging import (
    DEFAULT_ARMS,
    HERE,
    PLACEMENTS,
    TRIALS,
    Runner,
    Witness,
    accuracy_on,
    files_under,
    make_search,
    read_rows,
    write_digits,
)
from scipy import stats

from relu_search import RunFolder, SearchConfig, confirm, run_search
from relu_search.confirmation.statistics import judge
from relu_search.search.machines import Compute
from search_spaces import InputError
from trials import load_data
from trials.data.held_out import load_test_split
from trials.running.resources import Resources
from trials.running.trial import run_trial

COLUMNS = [
    *("arm", "origin", "placement", "ratio", "relus", "search_trial", "seed", "state", "epochs"),
    *("test_accuracy", "test_loss", "val_accuracy", "val_loss", "train_loss", "seconds", "reason"),
]
DIVERGED = "diverged: training loss became nan in epoch 2"


@pytest.fixture
def folder(tmp_path):
    return make_search(tmp_path / "run")


def confirmed(folder, runner, **options):
    return confirm(
        folder, **{"seeds": 2, "compute": HERE, "racing": False, **options}, runner=runner
    )


def keys(folder):
    return [(row["arm"], int(row["seed"])) for row in read_rows(folder / "confirm.csv")]


def refuse(*_arguments, **_options):
    raise AssertionError("nothing is left to train")


# --- who competes, and on what ----------------------------------------------------------------


def test_paired_all_modules_and_the_best_found_compete_on_equal_fresh_seeds(folder):
    runner = Runner()
    outcome = confirmed(folder, runner, seeds=3, top=2)
    assert (outcome.ending, outcome.failed) == ("complete", 0)
    assert runner.calls == [(PLACEMENTS[a], s) for s in (1, 2, 3) for a in DEFAULT_ARMS]
    assert keys(folder) == [(a, s) for s in (1, 2, 3) for a in DEFAULT_ARMS]
    assert list(read_rows(folder / "confirm.csv")[0]) == COLUMNS
    for spec in runner.specs:
        assert (spec.backbone.name, spec.width, spec.activation) == ("plain-8", 2, "relu")
        assert spec.recipe == SearchConfig(epochs=2).resolve().training_recipe


@pytest.mark.parametrize(
    ("options", "arms"),
    [
        ({"top": 0}, ["paired", "2:1", "linear"]),
        ({"top": 1}, ["paired", "2:1", "linear", "trial 5"]),
        ({"top": 9}, DEFAULT_ARMS),
        ({"top": 1, "modules": []}, ["paired", "trial 5"]),
        ({"top": 0, "modules": ["3:2"]}, ["paired", "3:2"]),
        ({"top": 0, "modules": ["linear", "paired", "linear"]}, ["paired", "linear"]),
        ({"top": 2, "modules": ["0+1*5"]}, ["paired", "0+1*5", "trial 3"]),
    ],
    ids=str,
)
def test_top_and_modules_choose_the_arms(options, arms, folder):
    confirmed(folder, Runner(), **options)
    assert keys(folder) == [(a, s) for s in (1, 2) for a in arms]


def test_the_facts_of_an_arm_say_where_it_comes_from(folder):
    confirmed(folder, Runner())
    found = {row["arm"]: row for row in read_rows(folder / "confirm.csv")}
    origins = {name: row["origin"] for name, row in found.items()}
    assert origins == dict(
        zip(DEFAULT_ARMS, ("module", "module", "control", "found", "found"), strict=True)
    )
    assert {name: row["search_trial"] for name, row in found.items()} == dict(
        zip(DEFAULT_ARMS, "01253", strict=True)
    )
    assert {name: row["relus"] for name, row in found.items()} == dict(
        zip(DEFAULT_ARMS, "63055", strict=True)
    )


def test_arms_of_one_seed_share_their_split_and_seeds_differ(folder):
    runner = Runner()
    confirmed(folder, runner, seeds=4)
    digests = {
        seed: {d for (_, s), d in runner.digests.items() if s == seed} for seed in range(1, 5)
    }
    assert all(len(found) == 1 for found in digests.values())
    assert len(set.union(*digests.values())) == 4
    for seed, found in digests.items():
        assert found == {load_data("digits", train_limit=100, seed=seed).split_digest}


def test_fresh_seeds_follow_the_searchs_own_or_start_where_asked(tmp_path):
    first = make_search(tmp_path / "a", seed=7)
    confirmed(first, Runner(), top=0)
    assert {seed for _, seed in keys(first)} == {8, 9}
    second = make_search(tmp_path / "b", seed=7)
    confirmed(second, Runner(), top=0, first_seed=5)
    assert {seed for _, seed in keys(second)} == {5, 6}
    with pytest.raises(InputError, match="the search's own"):
        confirmed(second, Runner(), seeds=3, top=0, first_seed=5)


def test_test_figures_are_those_of_the_saved_networks(folder):
    runner = Runner(fitted=("01*3", "0+1*5"))
    confirmed(folder, runner)
    for row in read_rows(folder / "confirm.csv"):
        model, data = runner.models[row["placement"], int(row["seed"])]
        test = load_test_split(data)
        expected = accuracy_on(model, data, test.images, test.labels)
        assert float(row["test_accuracy"]) == pytest.approx(expected, abs=0.0021)  # one image
        assert float(row["val_accuracy"]) == runner.accuracy(row["placement"], int(row["seed"]))


def test_placements_that_begin_alike_keep_weights_of_their_own(tmp_path):
    """Site by site the texts of deep networks are long."""
    rng = random.Random(1)
    head = "".join(rng.choice("01") for _ in range(118))
    texts, sites = [head + "01", head + "10"], 120
    paired = [("COMPLETE", "paired", f"1*{sites}", 0.5)]
    folder = make_search(tmp_path / "run", backbone=f"plain-{sites + 2}", trials=paired)
    confirmed(folder, Runner(), top=0, modules=texts)
    assert [row["state"] for row in read_rows(folder / "confirm.csv")] == ["COMPLETE"] * 6
    assert len(list((folder / "confirm").glob("*.safetensors"))) == 6


# --- interruptions, and more ------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [0, 4, 9])
def test_an_interrupted_confirmation_goes_on_and_repeats_nothing(stop_after, folder, monkeypatch):
    witness = Witness().watch(monkeypatch)
    first = Runner(stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, first)
    rows = read_rows(folder / "confirm.csv")
    assert len(rows) == len(first.calls) == stop_after
    assert all(row["test_accuracy"] == "" for row in rows)
    assert "read test" not in witness.kinds()
    assert not (folder / "verdict.csv").exists()
    second = Runner()
    assert confirmed(folder, second).ending == "complete"
    expected = [(PLACEMENTS[arm], seed) for seed in (1, 2) for arm in DEFAULT_ARMS]
    assert first.calls + second.calls == expected
    assert keys(folder) == [(a, s) for s in (1, 2) for a in DEFAULT_ARMS]
    assert witness.kinds().count("score") == 10


def test_an_interrupted_confirmation_ends_as_one_in_one_piece(folder, tmp_path):
    whole = make_search(tmp_path / "whole")
    confirmed(whole, Runner())
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(stop_after=6))
    confirmed(folder, Runner())
    for name in ("confirm.csv", "confirm_epochs.csv", "verdict.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_second_call_trains_nothing_and_changes_nothing(folder):
    confirmed(folder, Runner())
    before = files_under(folder)
    confirmed(folder, refuse)
    assert files_under(folder) == before


@pytest.mark.parametrize(
    "modules",
    [
        None,
        ["3:2"],
    ],
    ids=["the search's", "one not searched"],
)
def test_more_seeds_leave_the_old_rows_as_they_are(modules, folder):
    confirmed(folder, Runner(failing={("1*6", 2): DIVERGED}), modules=modules)
    before = (folder / "confirm.csv").read_text().splitlines()
    runner = Runner()
    confirmed(folder, runner, seeds=4, modules=modules)
    after = (folder / "confirm.csv").read_text().splitlines()
    assert set(before) <= set(after)
    assert {seed for _, seed in runner.calls} == {3, 4}
    assert len(after) - 1 == 2 * (len(before) - 1)
    assert all(row["n"] == "4" for row in read_rows(folder / "verdict.csv"))


def test_fewer_seeds_after_an_interruption_are_no_crash(folder):
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(stop_after=12), seeds=4)
    assert confirmed(folder, Runner(), seeds=2).ending == "complete"


def test_fewer_arms_after_an_interruption_are_no_crash(folder):
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(stop_after=9))
    assert confirmed(folder, Runner(), top=0).ending == "complete"


def test_a_failed_run_is_shown_and_tried_again(folder):
    failing = Runner(failing={("01*3", 2): "ValueError: no such luck"})
    outcome = confirmed(folder, failing, seeds=3)
    assert (outcome.ending, outcome.failed) == ("complete", 1)
    (row,) = [r for r in read_rows(folder / "confirm.csv") if r["state"] == "FAIL"]
    assert (row["arm"], row["seed"], row["test_accuracy"]) == ("2:1", "2", "")
    assert row["reason"] == "ValueError: no such luck"
    n = {(v["arm"], v["versus"]): v["n"] for v in outcome.verdicts}
    assert n["2:1", "paired"] == 2
    assert n["linear", "paired"] == 3
    again = Runner()
    outcome = confirmed(folder, again, seeds=3)
    assert again.calls == [("01*3", 2)]
    assert outcome.failed == 0
    assert Counter(keys(folder)) == Counter(product(DEFAULT_ARMS, (1, 2, 3)))
    assert all(row["state"] == "COMPLETE" for row in read_rows(folder / "confirm.csv"))


def test_the_curves_hold_each_epoch_once_also_after_a_failed_run(folder):
    confirmed(folder, Runner(failing={("01*3", 2): "ValueError: no such luck"}))
    confirmed(folder, Runner())
    epochs = [(e["arm"], e["seed"], e["epoch"]) for e in read_rows(folder / "confirm_epochs.csv")]
    assert max(Counter(epochs).values()) == 1
    assert len(epochs) == 20


def test_the_curves_hold_every_epoch(folder):
    runner = Runner()
    confirmed(folder, runner)
    epochs = read_rows(folder / "confirm_epochs.csv")
    assert [(e["arm"], int(e["seed"]), int(e["epoch"])) for e in epochs] == [
        (a, s, e) for s in (1, 2) for a in DEFAULT_ARMS for e in (1, 2)
    ]
    for e in epochs:
        assert float(e["val_accuracy"]) == runner.accuracy(PLACEMENTS[e["arm"]], int(e["seed"]))


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_diverged_run_is_counted_at_chance_and_kept(epochs, folder):
    """With one epoch it diverges before any is finished."""
    runner = Runner(failing={("1*6", 2): DIVERGED})
    outcome = confirmed(folder, runner, epochs=epochs)
    (row,) = [r for r in read_rows(folder / "confirm.csv") if r["state"] == "DIVERGED"]
    assert (row["arm"], row["seed"], float(row["test_accuracy"])) == ("paired", "2", 0.1)
    assert (row["epochs"], row["test_loss"]) == (str(epochs - 1), "")
    assert (row["val_accuracy"] == "") == (epochs == 1)
    assert ("1*6", 2) not in runner.models
    against_module = [v for v in outcome.verdicts if v["arm"] == "paired"]
    assert all(v["diverged"] == 1 and v["n"] == 2 for v in against_module)
    confirmed(folder, refuse)
    (again,) = [r for r in read_rows(folder / "confirm.csv") if r["state"] == "DIVERGED"]
    assert {**again, "seconds": float(again["seconds"])} == {
        **row,
        "seconds": float(row["seconds"]),
    }


def test_a_paired_arm_that_always_diverges_is_still_the_reference(folder):
    failing = {("1*6", seed): DIVERGED for seed in range(1, 5)}
    runner = Runner(failing=failing, fitted=("01*3",))
    outcome = confirmed(folder, runner, seeds=4, racing=True, epochs=1)
    rows = [r for r in read_rows(folder / "confirm.csv") if r["arm"] == "paired"]
    assert [float(r["test_accuracy"]) for r in rows] == [0.1] * 4
    assert {v["versus"] for v in outcome.verdicts} == {"paired", "2:1"}


# --- racing -----------------------------------------------------------------------------------

NOISE = {1: 0.001, 2: -0.002, 3: 0.0015, 4: -0.001, 5: 0.002, 6: -0.0005}
LEVELS = {"1*6": 0.1, "01*3": 0.3, "0*6": 0.2, "0+1*5": 0.9, "1*5+0": 0.4}


def levels(placement, seed):
    """Clear differences; the noise differs from arm to arm."""
    sign = {"1*6": 1, "01*3": -1, "0*6": 1, "0+1*5": -1, "1*5+0": 1}[placement]
    return LEVELS[placement] + sign * NOISE[seed]


def test_hopeless_arms_are_dropped_but_never_paired_nor_the_best_module(folder):
    runner, lines = Runner(accuracy=levels, fitted=("01*3",)), []
    outcome = confirmed(folder, runner, seeds=6, racing=True, report=lines.append)
    counts = Counter(placement for placement, _ in runner.calls)
    assert counts == {"1*6": 6, "01*3": 6, "0*6": 3, "0+1*5": 6, "1*5+0": 3}
    dropped = {v["arm"]: v["dropped_after"] for v in outcome.verdicts}
    assert dropped == {"paired": None, "2:1": None, "linear": 3, "trial 5": None, "trial 3": 3}
    told = [line for line in lines if "out of the race after 3 seeds" in line]
    assert sorted(line.split(" is out")[0] for line in told) == ["linear", "trial 3"]


def test_without_racing_all_arms_get_every_seed(folder):
    runner = Runner(accuracy=levels)
    outcome = confirmed(folder, runner, seeds=6, racing=False)
    assert set(Counter(placement for placement, _ in runner.calls).values()) == {6}
    assert {v["dropped_after"] for v in outcome.verdicts} == {None}


def test_a_race_that_is_over_stays_as_it_was_on_the_next_call(folder):
    """One arm is out after three seeds, another one only after five."""

    def late(placement, seed):
        spread = {1: 0.2, 2: -0.2, 3: 0.0, 4: 0.0, 5: 0.0, 6: 0.0}[seed]
        return levels(placement, seed) + (spread if placement == "1*5+0" else 0)

    confirmed(folder, Runner(accuracy=late), seeds=6, racing=True)
    before = files_under(folder)
    out = {v["arm"]: v["dropped_after"] for v in read_rows(folder / "verdict.csv")}
    assert out["linear"] == "3"
    assert out["trial 3"] in ("4", "5")
    confirmed(folder, refuse, seeds=6, racing=True)
    assert files_under(folder) == before


def test_an_interrupted_race_ends_as_one_in_one_piece(folder, tmp_path):
    whole = make_search(tmp_path / "whole")
    confirmed(whole, Runner(accuracy=levels), seeds=6, racing=True)
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(accuracy=levels, stop_after=17), seeds=6, racing=True)
    confirmed(folder, Runner(accuracy=levels), seeds=6, racing=True)
    for name in ("confirm.csv", "verdict.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_arms_that_were_raced_out_are_trained_when_all_are_asked_for(folder):
    confirmed(folder, Runner(accuracy=levels), seeds=6, racing=True)
    runner = Runner(accuracy=levels)
    confirmed(folder, runner, seeds=6, racing=False)
    assert sorted(runner.calls) == sorted(product(("0*6", "1*5+0"), (4, 5, 6)))


# --- settings ---------------------------------------------------------------------------------


def test_epochs_are_settled_by_the_first_call(folder):
    confirmed(folder, Runner(), epochs=3)
    before = files_under(folder)
    with pytest.raises(InputError, match="confirmed with 3 epochs, and 2 cannot join"):
        confirmed(folder, refuse, seeds=3, epochs=2)
    assert files_under(folder) == before
    runner = Runner()
    confirmed(folder, runner, seeds=3)  # not said again: three as before, not the search's two
    assert {spec.recipe.epochs for spec in runner.specs} == {3}
    confirmed(folder, Runner(), seeds=4, epochs=3)


def test_data_that_changed_are_refused_before_anything_is_written(tmp_path):
    folder = make_search(tmp_path / "run", digest="0" * 16)
    before = files_under(folder)
    with pytest.raises(InputError, match="are not those that"):
        confirmed(folder, refuse)
    left = {path.name for path in files_under(folder).keys() - before.keys()}
    assert left <= {".lock"}


def test_a_folder_that_another_process_uses_is_refused(folder):
    with RunFolder(folder).lock(), pytest.raises(InputError, match="another process"):
        confirmed(folder, refuse)
    assert not (folder / "confirm.csv").exists()


def test_a_new_search_in_the_same_folder_removes_the_confirmation(folder):
    confirmed(folder, Runner())
    assert (folder / "confirm").is_dir()
    with RunFolder.create(str(folder), overwrite=True):
        pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_search_without_any_full_trial_cannot_be_confirmed(tmp_path):
    pruned = [(state, *rest) for state, *rest in TRIALS if state != "COMPLETE"]
    for number, trials in enumerate(([], pruned)):
        folder = make_search(tmp_path / str(number), trials=trials)
        with pytest.raises(InputError, match="no trial of full length yet"):
            confirmed(folder, refuse)


# --- the test split ---------------------------------------------------------------------------


def test_test_images_are_read_after_the_last_training_and_each_model_scored_once(
    folder, monkeypatch
):
    witness = Witness().watch(monkeypatch)
    failing = {("01*3", 2): DIVERGED, ("0*6", 1): "ValueError: x"}
    confirmed(folder, witness.training(Runner(failing=failing)))
    kinds = witness.kinds()
    assert kinds.count("train") == 10
    assert kinds.count("score") == 8
    assert kinds.count("read test") == 1
    last = max(i for i, kind in enumerate(kinds) if kind == "train")
    assert kinds.index("read test") > last
    witness.events.clear()
    confirmed(folder, witness.training(Runner()), seeds=3)
    kinds = witness.kinds()
    assert kinds.count("train") == kinds.count("score") == 6  # the failed one, and five new ones
    assert kinds.index("read test") > max(i for i, kind in enumerate(kinds) if kind == "train")
    witness.events.clear()
    confirmed(folder, refuse, seeds=3)
    assert {"score", "read test"} & set(witness.kinds()) == set()


def test_search_train_export_and_report_ask_for_the_training_split_alone(
    tmp_path, monkeypatch, cli
):
    """In this process; workers get what was loaded here. The test file is not even an image set."""
    data = write_digits(tmp_path / "data", ["train"])
    (tmp_path / "data" / "test.parquet").write_bytes(b"nobody reads this")
    witness = Witness().watch(monkeypatch)
    config = SearchConfig(
        backbone="plain-5",
        width=2,
        data=data,
        train_limit=20,
        epochs=1,
        trials=3,
        concurrent=1,
        out=str(tmp_path / "run"),
    )
    assert run_search(config).best is not None
    tiny = ["--backbone", "plain-5", "--width", "2", "--train-limit", "20", "--epochs", "1"]
    for arguments in (
        ["train", *tiny, "--data", data, "--out", tmp_path / "model"],
        ["export", tmp_path / "run", "--out", tmp_path / "copy"],
        ["report", tmp_path / "run"],
    ):
        code, _, err = cli(*arguments)
        assert code == 0, err
    assert {split for kind, split in witness.events if kind == "open"} == {"train"}


def test_no_module_but_two_may_import_the_test_split():
    """The contract of pyproject.toml is checked as a whole in test_layers; here by plain text."""
    root = Path(__file__).parents[3]
    importing = {
        file.relative_to(root).as_posix()
        for package in ("search_spaces", "trials", "relu_search")
        for file in (root / package).glob("**/*.py")
        if "held_out" in file.read_text()
    }
    assert importing == {
        "relu_search/confirmation/confirm.py",
        "relu_search/reproduce/run_experiment.py",
    }
    opening = {
        file.name
        for package in ("search_spaces", "trials", "relu_search")
        for file in (root / package).glob("**/*.py")
        if "open_source(" in file.read_text()
    }
    assert opening == {"splits.py", "held_out.py", "sources.py"}


def test_the_other_verbs_do_not_load_the_reader_of_the_test_split():
    modules = (
        *("search.run_search", "search.single_training", "export.from_run"),
        *("analysis.answer", "analysis.leaderboard"),
    )
    code = (
        f"import sys, {', '.join(f'relu_search.{module}' for module in modules)}; "
        "forbidden = {'trials.data.held_out', 'relu_search.confirmation.confirm'}; "
        "raise SystemExit(bool(forbidden & {*sys.modules}))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- with Ray ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_over_ray_two_arms_are_trained_on_two_seeds_and_an_exception_is_a_failed_run(folder):
    """The same runs in this process give the same rows."""

    def failing(spec, data, **options):
        if (spec.placement.text, spec.seed) == ("01*3", 2):
            raise RuntimeError("no such luck")
        return run_trial(spec, data, **options)

    options = {"top": 0, "modules": ["2:1"], "epochs": 1}
    workers = Compute(resources=Resources(concurrent=2, cpus_per_trial=0.5))
    outcome = confirmed(folder, failing, compute=workers, **options)
    assert (outcome.ending, outcome.failed) == ("complete", 1)
    rows = {(r["arm"], r["seed"]): r for r in read_rows(folder / "confirm.csv")}
    assert rows["2:1", "2"]["reason"] == "RuntimeError: no such luck"
    assert outcome.verdicts == []  # one seed in common is no comparison
    here = make_search(folder.parent / "here")
    confirmed(here, run_trial, **options)
    expected = {(r["arm"], r["seed"]): r for r in read_rows(here / "confirm.csv")}
    assert rows.keys() == expected.keys()
    for key in rows.keys() - {("2:1", "2")}:
        for name in set(COLUMNS) - {"seconds"}:
            assert rows[key][name] == expected[key][name]
    assert confirmed(folder, run_trial, **options).failed == 0
    again = {(r["arm"], r["seed"]): r for r in read_rows(folder / "confirm.csv")}
    assert again["2:1", "2"]["test_accuracy"] == expected["2:1", "2"]["test_accuracy"]


# --- the last edges of the statistics ---------------------------------------------------------


def test_a_large_difference_over_few_seeds_is_judged_without_a_warning():
    reference = {1: 0.50, 2: 0.50, 3: 0.50}
    (judged,) = judge({"2:1": {1: 0.55, 2: 0.56, 3: 0.57}}, reference).values()
    assert (judged.verdict, judged.more_seeds) == ("inconclusive", 4)


def test_a_small_effect_within_a_thousand_seeds_gets_its_number():
    noise = np.random.default_rng(0).normal(size=10)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    reference = dict.fromkeys(range(10), 0.5)
    arm = {seed: 0.5 + 0.01 * (0.093 + noise[seed]) for seed in range(10)}
    # 950 pairs: the t distribution is normal there
    assert stats.norm.sf(stats.norm.isf(0.025) - 0.093 * 950**0.5) > 0.8
    (judged,) = judge({"2:1": arm}, reference, margin=1e-4).values()
    assert judged.verdict == "inconclusive"
    assert judged.more_seeds is not None
