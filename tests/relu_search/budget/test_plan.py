"""The estimate of a search: its arithmetic by hand, and one that is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.clock import Clock
from helpers.full_gpu import FULL

import relu_search.budget.plan as plan_module
from relu_search.budget.plan import Plan, needs_at_once
from search_spaces import InputError
from trials.running.devices import TrialNeeds

MIB = 2**20


def plan(**changes):
    needs = TrialNeeds(
        epoch_seconds=30, other_seconds=10, memory=500 * MIB, weights=MIB, checkpoint=2 * MIB
    )
    options = {"epochs": 5, "pack": 1, "at_once": 2, "trials": None, "limit": None, "arms": 7}
    return Plan(needs=needs, **{**options, **changes})


def test_the_times_are_those_of_whole_trials_side_by_side():
    found = plan()
    assert found.trial_seconds == 160
    assert found.per_hour == pytest.approx(3600 / 160 * 2)
    assert [found.trials_in(s) for s in (0, 159, 160, 320, 479, -5)] == [0, 0, 2, 4, 4, 0]
    assert [found.seconds_for(n) for n in (1, 2, 3)] == [160, 160, 320]
    assert found.confirm_trainings == 42


@pytest.mark.parametrize(
    ("trials", "limit", "expected"), [(9, None, 9), (None, 800, 10), (9, 800, 9), (11, 800, 10)]
)
def test_what_ends_the_search_first_decides_how_many_trials_are_expected(trials, limit, expected):
    assert plan(trials=trials, limit=limit).expected == expected


def test_memory_is_that_of_the_workers_and_disk_that_of_the_files():
    assert plan().memory == 1000 * MIB
    assert plan(pack=4, at_once=8).memory == 1000 * MIB
    assert plan(trials=9).disk == (9 + 1) * MIB + 2 * 2 * MIB


def test_the_estimate_is_one_line_and_the_plan_has_every_number():
    found = plan(trials=9, limit=800)
    assert plan(limit=800).estimate() == (
        "about 10 trials in 13.3 min: 2.7 min each by a measured epoch, 2 at once"
    )
    text = "\n".join(found.lines())
    for part in (
        "One trial takes 2.7 min (epochs of 30 s, measured), and 2 run at once: 45 trials per hour",
        "In 13.3 min: about 10 trials.",
        "9 trials: 13.3 min.",
        "Memory: 500 MiB for each trial, 0.977 GiB together.",
        "Disk: 14 MiB for 9 trials; the weights of one are 1 MiB.",
        "A confirmation (7 placements, 6 seeds) is 42 trainings: 56 min.",
    ):
        assert part in text
    assert found.to_json()["confirm_seconds"] == 21 * 160


def test_the_start_of_the_processes_is_what_a_measurement_takes_beside_its_own_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(plan_module.time, "monotonic", clock)

    def call(function, *how, say):
        clock.now += 25
        return replace(plan().needs, measured_seconds=20)

    needs = needs_at_once(call, 1, "how", say=print)
    assert (needs.start_seconds, needs.epoch_seconds) == (5, 30)
    found = replace(plan(), needs=needs)
    assert [found.trials_in(s) for s in (164, 165, 325)] == [0, 2, 4]
    assert found.seconds_for(3) == 325


@pytest.mark.parametrize("error", FULL)
def test_on_a_full_gpu_half_as_many_measure_at_once(error):
    said, calls = [], []

    def call(function, *how, say):
        calls.append(how)
        if len(calls) <= 8 + 4:
            raise error
        return plan().needs

    assert needs_at_once(call, 9, "how", say=said.append).epoch_seconds == 30
    assert len(calls) == 8 + 4 + 2
    assert [line.partition(" with ")[2] for line in said] == [
        "8 at once; 4 are measured",
        "4 at once; 2 are measured",
    ]


@pytest.mark.parametrize("error", FULL)
def test_a_training_that_fills_a_gpu_alone_is_refused(error):
    def call(function, *how, say):
        raise error

    with pytest.raises(InputError, match=r"^out of GPU memory: .* alone on the card; lower"):
        needs_at_once(call, 3, "how", say=print)


def test_another_error_of_a_measurement_is_raised():
    def call(function, *how, say):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        needs_at_once(call, 2, "how", say=print)


@pytest.mark.slow
@pytest.mark.parametrize("pack", [1, 2])
def test_a_measured_plan_has_the_sizes_of_the_files_that_a_search_writes(
    searched, cli_json, tmp_path, monkeypatch, pack
):
    monkeypatch.chdir(tmp_path)
    weights = searched.run.trial_weights(0)
    options = [
        *("--backbone", "plain-8", "--width", "4", "--train-limit", "100", "--epochs", "3"),
        *("--trials", "8", "--concurrent", "1", "--pack", pack),
    ]
    found = cli_json("plan", *options)
    assert found["weights"] == weights.stat().st_size
    assert found["checkpoint"] > found["weights"]
    assert found["at_once"] == 1
    whole = found["start_seconds"] + 8 * found["trial_seconds"]
    assert found["seconds_for_trials"] == pytest.approx(whole)
    assert found["epoch_seconds"] > 0
    assert found["start_seconds"] > 0
    assert list(tmp_path.iterdir()) == []
