"""A search with a time budget: on a clock that the test sets."""

from __future__ import annotations

from functools import partial

import pytest
from helpers.clock import Clock
from helpers.replay import RECIPE, Ears, drive, metrics, new_proposer, new_study
from optuna.trial import TrialState

from relu_search import RunFolder, SearchListener, resume_search, run_search
from relu_search.run_folder.time_spent import FILE, save_time, time_spent
from search_spaces import InputError
from trials.running.time_budget import OUT_OF_TIME, TimeBudget

TRIAL = 30.0  # seconds


class Passing(Ears):
    """Lets time pass with every epoch."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def epoch(self, number, metrics):
        super().epoch(number, metrics)
        self.clock.now += TRIAL / RECIPE.epochs


class PassingInRun(SearchListener):
    """The same for a whole search."""

    def __init__(self, clock):
        self.clock = clock

    def epoch(self, number, metrics):
        self.clock.now += TRIAL / RECIPE.epochs


@pytest.mark.parametrize(("seconds", "trials"), [(323, 10), (324, 11)])
def test_no_trial_starts_that_cannot_end_within_102_percent_of_the_budget(seconds, trials):
    clock = Clock()
    study = new_study()
    budget = TimeBudget(seconds, clock=clock)
    proposer = new_proposer(study, trials=1000, budget=budget, listeners=(Passing(clock),))
    assert len(drive(proposer)) == trials
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert not proposer.has_more
    assert proposer.remaining == 1000 - trials


def cut_off(study, seconds):
    """Search until the time is spent within a trial, which ends where it is told to."""
    clock = Clock()
    proposer = new_proposer(
        study,
        trials=1000,
        budget=TimeBudget(seconds, clock=clock),
        listeners=(Passing(clock),),
    )
    drive(proposer, limit=4)
    last = proposer.propose()
    clock.now += 15  # it waits for its worker
    for epoch in range(1, RECIPE.epochs + 1):
        if proposer.observe(last.number, metrics(last.spec.placement.text, epoch)):
            break
    proposer.conclude(last.number, None)
    return proposer, study.trials[last.number]


def test_a_trial_that_takes_too_long_ends_at_its_next_epoch_and_says_why():
    proposer, last = cut_off(new_study(), 5 * TRIAL)
    assert last.state == TrialState.PRUNED
    assert last.user_attrs["reason"] == OUT_OF_TIME
    assert sorted(last.intermediate_values) == [1, 2]
    assert not proposer.has_more


def test_a_trial_that_ends_with_the_budget_is_a_whole_one():
    last = cut_off(new_study(), 4 * TRIAL + 15 + TRIAL)[1]
    assert last.state == TrialState.COMPLETE
    assert "reason" not in last.user_attrs


def test_a_trial_that_was_interrupted_goes_on_even_if_no_new_one_may_start():
    """Its first new epoch is its last one; the epochs that it repeats are not."""
    study, clock = new_study(), Clock()
    first = new_proposer(study, trials=1000)
    lost = first.propose()
    first.observe(lost.number, metrics(lost.spec.placement.text, 1))
    resumed = new_proposer(study, trials=1000, budget=TimeBudget(5, spent=6, clock=clock))
    assert resumed.has_more
    assert resumed.propose().number == lost.number
    told = [resumed.observe(lost.number, metrics(lost.spec.placement.text, e)) for e in (1, 2)]
    assert told == [False, True]
    resumed.conclude(lost.number, None)
    assert study.trials[lost.number].user_attrs["reason"] == OUT_OF_TIME
    assert resumed.propose() is None


def test_the_time_spent_is_kept_for_each_work_and_damage_is_refused(tmp_path):
    assert time_spent(tmp_path, "search") == 0
    save_time(tmp_path, "search", 12.34)
    save_time(tmp_path, "confirm", 5)
    save_time(tmp_path, "search", 20)
    assert (time_spent(tmp_path, "search"), time_spent(tmp_path, "confirm")) == (20, 5)
    (tmp_path / FILE).write_text("search = -1\n")
    with pytest.raises(InputError, match=r"search = -1, no number of seconds; .* remove it"):
        time_spent(tmp_path, "search")


@pytest.fixture
def clock(monkeypatch):
    """The clock of the searches, which only the test moves."""
    clock = Clock()
    monkeypatch.setattr(
        "relu_search.search.run_search.TimeBudget", partial(TimeBudget, clock=clock)
    )
    return clock


@pytest.mark.slow
def test_a_budget_that_is_too_short_for_one_trial_is_refused_and_nothing_is_written(
    small_config, tmp_path, clock
):
    def begun(_run):
        clock.now += 10

    config = small_config(out=str(tmp_path / "a" / "run"), time_budget="10s")
    with pytest.raises(
        InputError,
        match=r"^time budget 10s is too short .* beside 10 s of prep.* give at least 1\d s",
    ):
        run_search(config, begun=begun)
    assert list(tmp_path.iterdir()) == []


def test_a_real_search_ends_in_time_is_recorded_and_has_nothing_left_when_resumed(
    small_config, tmp_path, clock, cli
):
    out = tmp_path / "run"
    config = small_config(out=str(out), trials=None, time_budget="100s", report=False)
    listeners = [PassingInRun(clock)]
    outcome = run_search(config, listeners=listeners, since=clock.now - 8, reserve=5)
    assert outcome.ending == "budget spent"
    run = RunFolder(out)
    config, record = run.read_config()
    assert (config.trials, config.time_budget) == (None, "100s")
    assert record["estimate"].keys() == {"trials", "trial_seconds", "at_once"}
    assert record["estimate"]["at_once"] == 1
    assert list(run.read_trials()["state"]) == ["COMPLETE"] * 2  # of 30 seconds
    assert time_spent(out, "search") == 8 + 2 * TRIAL
    clock.now += 1000  # between the two processes
    more = {"time_budget": "140s", "since": clock.now - 9, "reserve": 20}
    resumed = resume_search(out, listeners=listeners, **more)
    assert resumed.ending == "budget spent"
    assert run.count_trials() == 3
    assert time_spent(out, "search") == 8 + 9 + 3 * TRIAL
    code, _, err = cli("search", "--resume", out, "--time-budget", "100s")
    assert (code, "time-budget 100s is less than the 140s of" in err) == (2, True)
