"""The trainings of a confirmation: interrupted, continued, failed, diverged, dropped."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

import pytest
from helpers.confirming import DIVERGED, confirmed, keys, levels, refuse
from helpers.judging import (
    DEFAULT_ARMS,
    PLACEMENTS,
    Runner,
    Witness,
    files_under,
    make_search,
    read_rows,
)


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


def test_hopeless_arms_are_dropped_but_never_paired_nor_the_best_module(folder):
    runner, lines = Runner(accuracy=levels, fitted=("01*3",)), []
    outcome = confirmed(folder, runner, seeds=9, racing=True, report=lines.append)
    counts = Counter(placement for placement, _ in runner.calls)
    assert counts == {"1*6": 9, "01*3": 9, "0*6": 6, "0+1*5": 9, "1*5+0": 6}
    dropped = {v["arm"]: v["dropped_after"] for v in outcome.verdicts}
    assert dropped == {"2:1": None, "linear": 6, "trial 5": None, "trial 3": 6}
    told = [line for line in lines if "gets no more seeds after 6" in line]
    assert sorted(line.split(" gets no")[0] for line in told) == ["linear", "trial 3"]


def test_without_racing_all_arms_get_every_seed(folder):
    runner = Runner(accuracy=levels)
    outcome = confirmed(folder, runner, seeds=9, racing=False)
    assert set(Counter(placement for placement, _ in runner.calls).values()) == {9}
    assert {v["dropped_after"] for v in outcome.verdicts} == {None}


def test_a_race_that_is_over_stays_as_it_was_on_the_next_call(folder):
    """One arm is out after six seeds, another one later."""

    def late(placement, seed):
        spread = {1: 0.3, 2: -0.3, 3: 0.25, 4: -0.25, 5: 0.2, 6: -0.2}.get(seed, 0.0)
        return levels(placement, seed) + (spread if placement == "1*5+0" else 0)

    confirmed(folder, Runner(accuracy=late), seeds=9, racing=True)
    before = files_under(folder)
    out = {v["arm"]: v["dropped_after"] for v in read_rows(folder / "verdict.csv")}
    assert out["linear"] == "6"
    assert out["trial 3"] in ("7", "8")
    confirmed(folder, refuse, seeds=9, racing=True)
    assert files_under(folder) == before


def test_an_interrupted_race_ends_as_one_in_one_piece(folder, tmp_path):
    whole = make_search(tmp_path / "whole")
    confirmed(whole, Runner(accuracy=levels), seeds=9, racing=True)
    with pytest.raises(KeyboardInterrupt):
        confirmed(folder, Runner(accuracy=levels, stop_after=32), seeds=9, racing=True)
    confirmed(folder, Runner(accuracy=levels), seeds=9, racing=True)
    for name in ("confirm.csv", "verdict.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_arms_that_were_raced_out_are_trained_when_all_are_asked_for(folder):
    confirmed(folder, Runner(accuracy=levels), seeds=9, racing=True)
    runner = Runner(accuracy=levels)
    confirmed(folder, runner, seeds=9, racing=False)
    assert sorted(runner.calls) == sorted(product(("0*6", "1*5+0"), (7, 8, 9)))
