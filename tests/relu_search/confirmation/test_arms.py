"""The arms of a confirmation: which ones, in which order, with which facts."""

from __future__ import annotations

import pytest
from helpers.confirming import confirmed, keys, refuse
from helpers.judging import DEFAULT_ARMS, TRIALS, Runner, make_search, read_rows

from search_spaces import InputError


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


@pytest.mark.parametrize(
    ("options", "arms"),
    [
        ({"top": 1}, ["paired", "2:1", "linear", "mine", "another", "trial 3"]),
        ({"top": 0, "modules": ["another"]}, ["paired", "another"]),
        ({"top": 0, "modules": ["0+1*5"]}, ["paired", "mine"]),
    ],
    ids=str,
)
def test_placements_that_the_user_gave_to_the_search_are_arms_by_name(options, arms, tmp_path):
    own = {"mine": "0+1*5", "another": "00+1*4"}
    trials = [(s, "mine" if p == "0+1*5" else m, p, a) for s, m, p, a in TRIALS]
    folder = make_search(tmp_path / "run", trials=trials, own=own)
    confirmed(folder, Runner(), **options)
    assert keys(folder) == [(a, s) for s in (1, 2) for a in arms]
    rows = {row["arm"]: row for row in read_rows(folder / "confirm.csv")}
    name = next(arm for arm in arms if arm in own)
    assert (rows[name]["origin"], rows[name]["placement"]) == ("module", own[name])


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


def test_a_search_without_any_full_trial_cannot_be_confirmed(tmp_path):
    pruned = [(state, *rest) for state, *rest in TRIALS if state != "COMPLETE"]
    for number, trials in enumerate(([], pruned)):
        folder = make_search(tmp_path / str(number), trials=trials)
        with pytest.raises(InputError, match="no trial of full length yet"):
            confirmed(folder, refuse)
