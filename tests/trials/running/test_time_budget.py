"""A time budget by a clock that the test sets: what may start, what must end, what is saved."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers.clock import Clock

from trials.data.splits import load_data
from trials.running.time_budget import TimeBudget
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.metrics import EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

SPEC = TrialSpec(backbone="plain-8", width=2, placement="paired", recipe=Recipe(epochs=4))


def train(budget, clock, number, seconds, spec=SPEC, epochs=4):
    """Train some epochs; whether the budget has ended the trial."""
    budget.started(number)
    for _ in range(epochs):
        clock.now += seconds / spec.recipe.epochs
        if budget.epoch_ended(number):
            break
    return budget.ended(number, spec)


def test_without_a_limit_everything_may_start_and_nothing_must_end():
    clock = Clock()
    budget = TimeBudget(clock=clock)
    assert not train(budget, clock, 0, 1e9)
    assert budget.may_start(SPEC)


def test_a_trial_starts_only_if_it_is_expected_to_end_at_most_2_percent_late():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    budget.expect(SPEC, 30)
    clock.now += 72
    assert budget.may_start(SPEC)
    clock.now += 0.5
    assert not budget.may_start(SPEC)
    assert budget.may_start(replace(SPEC, recipe=replace(SPEC.recipe, epochs=3)))


def test_no_trial_starts_after_the_budget_however_short_it_is():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    budget.expect(SPEC, 0.1)
    clock.now += 99.9
    assert budget.may_start(SPEC)
    clock.now += 0.1
    assert not budget.may_start(SPEC)


def test_the_seconds_for_what_follows_the_trials_are_not_for_trials():
    clock = Clock()
    budget = TimeBudget(100, reserve=10, clock=clock)
    budget.expect(SPEC, 30)
    clock.now += 62
    assert (budget.spent, budget.left) == (62, 28)
    assert budget.may_start(SPEC)
    budget.started(0)
    clock.now += 0.5
    assert not budget.may_start(SPEC)
    clock.now += 29
    assert not budget.epoch_ended(0)
    clock.now += 0.5
    assert budget.epoch_ended(0)


def test_a_deeper_network_is_expected_to_take_longer():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    train(budget, clock, 0, 30)
    deeper = replace(SPEC, backbone="plain-14", placement="paired")  # twice the sites
    assert budget.may_start(deeper)
    clock.now += 13
    assert not budget.may_start(deeper)
    assert budget.may_start(SPEC)


def test_trials_that_have_ended_replace_the_estimate_also_those_that_were_stopped():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    budget.expect(SPEC, 1)
    train(budget, clock, 0, 40, epochs=2)  # 20 seconds
    clock.now += 42
    assert budget.may_start(SPEC)
    clock.now += 1
    assert not budget.may_start(SPEC)


def test_one_slow_trial_among_many_does_not_count():
    clock = Clock()
    budget = TimeBudget(1000, clock=clock)
    for number, seconds in enumerate([80, 20, 20, 20, 20]):
        train(budget, clock, number, seconds)
    clock.now = 1000 + 1000 - 20
    assert budget.may_start(SPEC)


def test_what_runs_ends_at_its_next_epoch_and_is_known_to_have_run_out_of_time():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    budget.started(7)
    clock.now += 101
    assert not budget.epoch_ended(7)
    clock.now += 1
    assert budget.epoch_ended(7)
    assert budget.ended(7, SPEC)
    assert not budget.may_start(SPEC)


def test_a_trial_that_ends_otherwise_has_not_run_out_of_time():
    clock = Clock()
    budget = TimeBudget(100, clock=clock)
    budget.started(7)
    clock.now += 99
    budget.epoch_ended(7)
    clock.now += 10
    assert not budget.ended(7, SPEC)


def test_the_time_of_earlier_processes_counts():
    clock = Clock()
    budget = TimeBudget(100, spent=90, clock=clock)
    clock.now += 4
    assert (budget.spent, budget.left) == (94, 6)


def test_the_time_before_the_budget_was_made_counts_if_the_budget_is_told():
    clock = Clock()
    budget = TimeBudget(100, spent=90, since=clock.now - 3, clock=clock)
    clock.now += 4
    assert (budget.spent, budget.left) == (97, 3)


def test_the_time_is_saved_at_starts_and_after_epochs_but_not_more_often_than_every_second():
    clock, saved = Clock(), []
    budget = TimeBudget(100, spent=10, clock=clock)
    budget.save = saved.append
    budget.started(0)
    for seconds in (5, 0.5, 0.4, 0.1):
        clock.now += seconds
        budget.epoch_ended(0)
    for number, seconds in enumerate((0.9, 2)):
        clock.now += seconds
        budget.started(number)
    assert saved == pytest.approx([10, 15, 16, 18.9])


# --- a list of trials -------------------------------------------------------------------------


def runner_by(clock, seconds, started):
    """Stands for `run_trial`: its epochs only move the clock."""

    def run(spec, data, *, on_epoch, **_how):
        started.append(spec.seed)
        for epoch in range(1, spec.recipe.epochs + 1):
            clock.now += seconds[spec.seed] / spec.recipe.epochs
            values = dict.fromkeys(
                ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"), 0.5
            )
            on_epoch(EpochMetrics(epoch=epoch, **values))
        return SimpleNamespace(failure=None)

    return run


@pytest.mark.parametrize(
    ("seconds", "started", "ended", "now"),
    [
        ([20, 20, 20, 20, 20, 20], [0, 1, 2, 3], [0, 1, 2, 3], 80),
        ([20, 20, 20, 40, 20, 20], [0, 1, 2, 3], [0, 1, 2], 90),  # it ends in the third epoch
    ],
    ids=["none starts that cannot end", "one takes longer"],
)
def test_a_list_of_trials_ends_in_time_and_what_is_cut_off_stays_to_do(
    seconds, started, ended, now
):
    clock, told, begun = Clock(), [], []
    trials = TrialList(
        [replace(SPEC, seed=seed) for seed in range(6)],
        ended=lambda number, epochs, failure: told.append((number, len(epochs), failure)),
        budget=TimeBudget(85, clock=clock),
    )
    data = SimpleNamespace(name="none")
    run_in_process(trials, data, runner=runner_by(clock, seconds, begun))
    assert begun == started
    assert told == [(number, 4, None) for number in ended]
    assert clock.now == 1000 + now
    assert not trials.is_complete


def test_a_trial_that_the_budget_cuts_off_goes_on_from_its_checkpoint(tmp_path):
    """Times of restored epochs are those of the first run; an epoch trained again has another."""
    data = load_data("digits", train_limit=40)
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    clock, seen, told = Clock(), [], []

    def runner(spec, split, *, on_epoch, **options):
        def epoch(metrics):
            seen.append((spec.seed, metrics.epoch, metrics.seconds))
            clock.now += 10
            on_epoch(metrics)

        return run_trial(spec, split, on_epoch=epoch, **options)

    def go_on(seconds):
        trials = TrialList(
            [replace(SPEC, seed=seed) for seed in range(2)],
            ended=lambda number, epochs, failure: told.append((number, len(epochs), failure)),
            budget=TimeBudget(seconds, clock=clock),
        )
        run_in_process(trials, data, files=files, runner=runner)
        seen_now, seen[:] = list(seen), []
        return seen_now

    first = go_on(18)
    assert [epoch for _, epoch, _ in first] == [1, 2]
    assert told == []
    assert len(list(files.checkpoints.iterdir())) == 1
    second = go_on(1000)
    assert second[:2] == first
    assert [(seed, epoch) for seed, epoch, _ in second[2:]] == [
        *((0, 3), (0, 4)),
        *((1, epoch) for epoch in range(1, 5)),
    ]
    assert told == [(0, 4, None), (1, 4, None)]
    assert list(files.checkpoints.iterdir()) == []
