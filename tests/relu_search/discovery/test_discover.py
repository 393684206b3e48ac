"""discover(): a made-up search, real confirmations without Ray, and a real export."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.judging import HERE, OPTIONS, TRIALS, Runner, make_search, read_rows

from relu_search import RunFolder, SearchConfig, confirm, discover, load_exported, resume_discovery
from relu_search.budget.plan import TooShortError
from relu_search.discovery.discover import Watchers
from relu_search.discovery.division import Division
from relu_search.run_folder.time_spent import save_time
from relu_search.search.run_search import SearchOutcome
from search_spaces import InputError
from trials.data.splits import load_data

MODULE = "relu_search.discovery.discover"
LEVELS = {"1*6": 0.3, "01*3": 0.4, "0*6": 0.9, "0+1*5": 0.7, "1*5+0": 0.6}


def steady(levels, sd=0.01):
    """Validation accuracies around a level for each placement."""

    def accuracy(placement, seed):
        draws = np.random.default_rng([seed, sum(map(ord, placement))])
        return levels[placement] + sd * float(draws.standard_normal())

    return accuracy


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes discoveries without Ray; test scores are the validation accuracies of the runner."""
    out = tmp_path / "run"

    class Made:
        folder = out
        ends_search = True

        def __init__(self):
            self.searches, self.runner = [], Runner(accuracy=steady(LEVELS))

        def config(self, **changes):
            return SearchConfig(**{**OPTIONS, "trials": 43, "out": str(out), **changes})

        def run_search(self, config, *, begun, planned, needs_test, **_how):
            assert needs_test
            self.searches.append((config.trials, config.time_budget))
            trials = TRIALS if self.ends_search else TRIALS[:3]
            changes = {"trials": config.trials, "time_budget": config.time_budget}
            make_search(out, trials=trials, budget=changes)
            run = RunFolder(out)
            begun(run)
            planned(run, None)
            return self.outcome(run)

        def resume_search(self, folder, **changes):
            self.searches.append((changes.get("trials"), changes.get("time_budget")))
            self.since = changes["since"]
            run = RunFolder(out)
            rows = read_rows(out / "trials.csv")
            assert len(rows) == 3
            make_search(out.parent / "whole")
            (out / "trials.csv").write_bytes((out.parent / "whole/trials.csv").read_bytes())
            self.ends_search = True
            return self.outcome(run)

        def outcome(self, run):
            ending = "budget spent" if self.ends_search else "interrupted"
            return SearchOutcome(run=run, ending=ending, best_trial={"trial": 5})

    found = Made()

    def confirmed(folder, **options):
        return confirm(folder, **{**options, "compute": HERE}, runner=found.runner)

    def score(trainings, *_arguments, **_options):
        for row in trainings.unscored():
            trainings.save_score(row, 1.0, row["val_accuracy"])

    monkeypatch.setattr(f"{MODULE}.confirm", confirmed)
    monkeypatch.setattr(f"{MODULE}.run_search", found.run_search)
    monkeypatch.setattr(f"{MODULE}.resume_search", found.resume_search)
    monkeypatch.setattr("relu_search.confirmation.confirm.score_on_test_split", score)
    monkeypatch.setattr(f"{MODULE}.write_report", lambda run: run.path)
    return found


def test_the_confirmed_winner_is_exported_with_the_weights_of_its_best_training(made):
    outcome = discover(made.config())
    assert outcome.ending == "complete"
    assert made.searches == [(7, None)]  # 6 arms and 6 seeds are kept for the confirmation
    winner = outcome.winner
    assert (winner.arm, winner.placement, winner.is_better) == ("trial 5", "0+1*5", True)
    runs = [row for row in read_rows(made.folder / "confirm.csv") if row["arm"] == "trial 5"]
    best = max(runs, key=lambda row: float(row["val_accuracy"]))
    assert winner.seed == int(best["seed"])
    model, data = made.runner.models["0+1*5", winner.seed]
    exported = load_exported(winner.card)
    for key, value in model.state_dict().items():
        assert (exported.state_dict()[key] == value).all(), key
    card = json.loads(winner.card.read_text())
    assert card["normalisation"]["mean"] == pytest.approx(list(data.mean))
    assert card["training"]["split_digest"] == data.split_digest
    assert card["verdict"]["verdict"] == "better"
    assert card["verdict"]["versus"] == "paired"
    assert outcome.answer[0] == "The confirmed winner is trial 5 (0+1*5)."
    assert outcome.answer[-1].endswith(f"with seed {winner.seed}: {made.folder / 'winner'}")


def test_the_control_outside_the_limits_never_wins(made):
    """It has the highest accuracy of all."""
    outcome = discover(made.config())
    assert max(outcome.verdicts, key=lambda row: row["mean"])["arm"] == "linear"
    assert outcome.winner.arm == "trial 5"


def test_without_a_better_arm_the_model_is_paired_and_the_answer_says_so(made):
    made.runner.accuracy = steady(dict.fromkeys(LEVELS, 0.5), sd=0.03)
    outcome = discover(made.config())
    assert outcome.winner.placement == "1*6"
    assert not outcome.winner.is_better
    assert "Nothing is confirmed to be better than paired." in outcome.answer
    assert outcome.answer[-1].startswith("The model is paired, the ordinary network")
    assert load_exported(outcome.winner.card).placement.text == "1*6"


def test_after_an_interrupted_search_it_goes_on_with_the_search(made):
    made.ends_search = False
    first = discover(made.config())
    assert (first.ending, first.winner) == ("interrupted", None)
    assert made.runner.calls == []
    second = resume_discovery(made.folder, since=7.0)
    assert made.searches == [(7, None), (7, None)]
    assert made.since == 7.0
    assert second.winner.arm == "trial 5"


def test_after_an_interrupted_confirmation_nothing_is_trained_twice(made):
    made.runner.stop_after = 11
    with pytest.raises(KeyboardInterrupt):
        discover(made.config())
    made.runner.stop_after = None
    outcome = resume_discovery(made.folder)
    assert outcome.winner.arm == "trial 5"
    assert len(made.searches) == 1
    assert made.runner.calls[:11] == [(arm, seed) for seed in (1, 2, 3) for arm in LEVELS][:11]
    count = len(made.runner.calls)
    assert count == len(set(made.runner.calls))
    again = resume_discovery(made.folder)
    assert len(made.runner.calls) == count
    assert again.winner == outcome.winner


def test_more_trainings_go_to_the_confirmation_once_the_search_has_ended(made):
    discover(made.config())
    outcome = resume_discovery(made.folder, trials=57)
    assert max(row["n"] for row in outcome.verdicts) == 10  # (57 - 7 trials) for 5 arms
    with pytest.raises(InputError, match="--trials 56 is less than the 57 of the run"):
        resume_discovery(made.folder, trials=56)


def test_the_confirmation_has_the_time_that_the_search_has_left(made, monkeypatch):
    asked = []

    def confirmed(folder, **options):
        asked.append((options["time_budget"], options["seeds"], options["since"]))
        return confirm(folder, **{**options, "compute": HERE}, runner=made.runner)

    whole_search = made.run_search

    def timed(config, *, since, **how):
        asked.append(since)
        outcome = whole_search(config, **how)
        save_time(made.folder, "search", 100.0)
        return outcome

    monkeypatch.setattr(f"{MODULE}.confirm", confirmed)
    monkeypatch.setattr(f"{MODULE}.run_search", timed)
    discover(made.config(trials=None, time_budget="200s"), since=5.0)
    assert made.searches == [(None, "1m")]
    # A trial took a second, one at a time: 100 of 5 arms. What began before is the search's time.
    assert asked == [5.0, ("100s", 20, None)]
    resume_discovery(made.folder, since=7.0)
    assert asked[2:] == [("100s", 20, 7.0)]


def test_once_exported_the_winner_needs_its_weights_no_more(made):
    first = discover(made.config())
    for file in (made.folder / "confirm").glob("*.safetensors"):
        file.unlink()
    again = resume_discovery(made.folder)
    assert again.winner == first.winner
    (made.folder / "winner" / "card.json").unlink()
    with pytest.raises(InputError, match="safetensors"):
        resume_discovery(made.folder)


def test_a_larger_budget_never_takes_trials_from_the_search():
    before = 0
    for trials in range(40, 200):
        division = Division(trials=trials, time_budget=None, top=3, arms=6)
        division.require_enough()
        part = division.for_search()["trials"]
        assert before <= part <= trials - 36
        before = part


def test_a_time_budget_that_is_too_short_for_the_search_is_told_as_it_was_given(made, monkeypatch):
    def refuses(config, **_how):
        assert config.time_budget == "3s"
        raise TooShortError(config.time_budget, trial=5.0, beside=4.0)

    monkeypatch.setattr(f"{MODULE}.run_search", refuses)
    with pytest.raises(InputError) as refused:
        discover(made.config(trials=None, time_budget="10s"))
    assert str(refused.value).startswith("time budget 10s, of which the search gets 30%, is too")
    assert "give at least 30 s" in str(refused.value)


def test_what_is_begun_is_told(made):
    told = []
    watchers = Watchers(begun=lambda run, phase: told.append((run.path, phase)))
    discover(made.config(), watchers=watchers)
    assert told == [(made.folder, "search"), (made.folder, "confirmation")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trials": 32}, "trials is 32; discover needs at least 40"),
        ({"objective": "loss,relus", "metric": "val_loss"}, "takes no objective"),
        ({"at_least_accuracy": 0.9, "metric": "val_accuracy"}, "takes no objective"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(changes, says, made):
    with pytest.raises(InputError, match=says):
        discover(made.config(**changes))
    assert not made.folder.exists()


def test_data_given_in_python_need_their_test_split(made):
    with pytest.raises(InputError, match="need their test split"):
        discover(made.config(data=load_data("digits", train_limit=100)))


def test_a_run_of_search_is_refused(made):
    make_search(made.folder)
    with pytest.raises(InputError, match="was not begun by discover"):
        resume_discovery(made.folder)


@pytest.mark.parametrize("text", ["top = 0\narms = 5", "top = 3", "top = 3\narms = 5\nred = 1"])
def test_a_damaged_division_is_refused(text, made):
    make_search(made.folder)
    (made.folder / "discover.toml").write_text(text)
    with pytest.raises(InputError, match=r"discover\.toml is damaged"):
        resume_discovery(made.folder)
