"""The proposer on recorded curves: no Ray, no training, one driver loop that plays scheduler."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from helpers.replay import (
    RECIPE,
    REFERENCES,
    Ears,
    bits_of,
    drive,
    metrics,
    new_proposer,
    new_study,
    stop_half,
)
from optuna.trial import TrialState

from relu_search.settings.search_options import SAMPLERS
from search_spaces import Placement, SearchSpace, module_placement, reference_modules
from trials.running.proposals import Proposal


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hand_designed_modules_come_first_in_order_and_protected(sampler):
    proposals = drive(new_proposer(trials=8, sampler=sampler), stop=stop_half)
    assert [p.spec.placement.text for p in proposals[:3]] == list(REFERENCES.values())
    texts = [p.spec.placement.text for p in proposals]
    further_seed = [text in texts[:i] for i, text in enumerate(texts)]
    assert [p.protected for p in proposals] == [True] * 3 + further_seed[3:]


def test_references_outside_the_limits_are_still_trained():
    space = SearchSpace("plain-8", "stage", min_relus=2, max_relus=2)
    proposals = drive(new_proposer(space=space, trials=20))
    assert [bits_of(p) for p in proposals[:3]] == ["111111", "010101", "000000"]
    assert all(bits_of(p).count("1") == 2 for p in proposals[3:])
    assert len({bits_of(p) for p in proposals[3:18]}) == 15  # 6 over 2


def test_a_reference_that_the_space_cannot_write_is_left_out():
    space = SearchSpace("preresnet-8", "stage")
    references = {name: module_placement(space.backbone, name) for name in ("pyramidnet", "2:1")}
    proposals = drive(new_proposer(space=space, trials=2, references=references))
    assert [p.protected for p in proposals] == [True, False]
    assert bits_of(proposals[0]) == "010101"


@pytest.mark.parametrize("protect", [False, True])
def test_placements_of_the_user_come_after_the_modules_under_their_names(protect):
    study = new_study()
    own = {"2:1": Placement.parse("01*3"), "mine": Placement.parse("0+1*5")}
    space = SearchSpace("plain-8", "site")
    options = {"trials": 6, "space": space, "own": own, "protect_own": protect}
    proposals = drive(new_proposer(study, **options), limit=4)
    assert [p.spec.placement.text for p in proposals] == [*REFERENCES.values(), "0+1*5"]
    assert [p.protected for p in proposals] == [True] * 3 + [protect]
    names = [trial.user_attrs["module"] for trial in study.trials]
    assert names == ["paired", "2:1", "linear", "mine"]
    more = drive(new_proposer(study, **options))
    assert len(more) == 2
    assert "0+1*5" not in {p.spec.placement.text for p in more}


@pytest.fixture(scope="module")
def told():
    """A finished study with early stops and failures, and what was proposed."""
    study = new_study()
    failing = {1: "training loss became nan in epoch 2", 2: "ValueError: no"}
    proposer = new_proposer(study, trials=20, seed=3)
    return study, drive(proposer, stop=stop_half, failing=failing), failing


def test_complete_are_exactly_the_trials_of_full_length(told):
    study, proposals, failing = told
    full = {
        p.number
        for p in proposals
        if p.number not in failing and not any(stop_half(p, epoch) for epoch in (1, 2))
    }
    assert {t.number for t in study.trials if t.state == TrialState.COMPLETE} == full
    assert 3 < len(full) < 18
    for number in full:
        final = metrics(proposals[number].spec.placement.text, RECIPE.epochs)
        assert study.trials[number].value == final.val_accuracy


def test_stopped_trials_are_pruned_and_keep_every_value_at_its_step(told):
    study, proposals, _ = told
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert {max(t.intermediate_values) for t in pruned} == {1, 2}
    for trial in pruned:
        proposal = proposals[trial.number]
        epochs = range(1, 2 + (not stop_half(proposal, 1)))
        expected = {e: metrics(proposal.spec.placement.text, e).val_accuracy for e in epochs}
        assert trial.intermediate_values == expected


def test_failures_have_a_reason_and_no_value(told):
    study, _, failing = told
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert {t.number: t.user_attrs["reason"] for t in failed} == failing
    assert all(t.value is None and t.user_attrs["reason"] for t in failed)
    assert all(len(t.user_attrs["history"]) == 1 for t in failed)


def test_every_trial_stores_its_placement_module_seed_and_history(told):
    study, proposals, _ = told
    modules = {placement: name for name, placement in REFERENCES.items()}
    for trial, proposal in zip(study.trials, proposals, strict=True):
        text = proposal.spec.placement.text
        assert trial.user_attrs["placement"] == text
        assert trial.user_attrs["seed"] == 4
        if text in modules:
            assert trial.user_attrs["module"] == modules[text]
        steps = [m["epoch"] for m in trial.user_attrs["history"]]
        assert steps == sorted(trial.intermediate_values)
        assert trial.user_attrs["history"] == [metrics(text, e).to_json() for e in steps]


def test_a_trial_without_an_epoch_is_a_failure_with_a_reason():
    study = new_study()
    proposer = new_proposer(study, trials=1)
    proposer.conclude(proposer.propose().number, None)
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"]


def test_past_trials_have_the_epochs_of_all_trials_that_ended(told):
    study, proposals, _ = told
    past = new_proposer(study, trials=20).past_trials()
    assert [one.number for one in past] == [p.number for p in proposals]
    curves = [{m["epoch"]: m["val_accuracy"] for m in one.history} for one in past]
    assert curves == [study.trials[p.number].intermediate_values for p in proposals]


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", max), ("val_loss", min)])
def test_the_metric_says_what_is_reported_and_which_way_is_better(metric, best):
    study = new_study(metric)
    proposals = drive(new_proposer(study, metric=metric, trials=10))
    finals = [getattr(metrics(p.spec.placement.text, 3), metric) for p in proposals]
    assert [t.value for t in study.trials] == finals
    assert study.best_value == best(finals)


def test_listeners_hear_every_event_in_order():
    first, second = Ears(), Ears()
    proposer = new_proposer(trials=6, listeners=(first, second))
    proposals = drive(proposer, stop=stop_half, failing={2: "no"})
    expected: list[tuple[object, ...]] = []
    for p in proposals:
        expected.append(("started", p.number))
        state = "COMPLETE"
        for epoch in (1, 2, 3):
            if p.number == 2 and epoch == 2:
                state = "FAIL"
                break
            expected.append(("epoch", p.number, epoch))
            if epoch < 3 and stop_half(p, epoch):
                state = "PRUNED"
                break
        expected.append(("finished", p.number, state))
    assert first.events == second.events == expected


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "local", "grid"])
def test_the_budget_is_met_exactly_with_three_trials_at_once(sampler):
    proposer = new_proposer(trials=17, sampler=sampler)
    rng = random.Random(0)
    running: list[Proposal] = []
    seen: list[str] = []
    while True:
        while len(running) < 3 and (proposal := proposer.propose()) is not None:
            running.append(proposal)
            seen.append(bits_of(proposal))
            assert proposer.unfinished == len(running)
        if not running:
            break
        done = running.pop(rng.randrange(len(running)))
        proposer.observe(done.number, metrics(done.spec.placement.text, 1))
        proposer.conclude(done.number, None)
    assert len(seen) == len(set(seen)) == 17
    assert (proposer.remaining, proposer.unfinished) == (0, 0)


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_a_budget_below_the_references_trains_the_first_of_them(budget):
    proposer = new_proposer(trials=budget)
    texts = [p.spec.placement.text for p in drive(proposer)]
    assert texts == list(REFERENCES.values())[:budget]


@pytest.mark.parametrize("sampler", ["local", "random", "tpe"])
@pytest.mark.parametrize(("trials", "extra"), [(40, 4), (30, 3), (19, 1), (9, 0)])
def test_the_last_tenth_of_the_budget_is_seeds_of_paired_and_of_the_best_module(
    sampler, trials, extra
):
    space = SearchSpace("preresnet-20", "block")
    proposals = drive(
        new_proposer(trials=trials, space=space, sampler=sampler, module_seeds=3), stop=stop_half
    )
    modules = reference_modules(space.backbone)
    firsts = ("2:1/first", "2:1/second")
    best = max(firsts, key=lambda n: metrics(modules[n].text, RECIPE.epochs).val_accuracy)
    expected = [modules[n].text for n in ("paired", best, "paired", best)][:extra]
    last = proposals[trials - extra :]
    assert [p.spec.placement.text for p in last] == expected
    assert all(p.protected for p in last)
    assert [p.spec.seed for p in last] == [5, 5, 6, 6][:extra]
    texts = [p.spec.placement.text for p in proposals[: trials - extra]]
    assert [texts.count(module.text) for module in modules.values()] == [1] * 4


def test_seeds_of_modules_leave_room_for_all_placements():
    """The budget is enough for each of the 15 placements, and the three modules beside them."""
    space = SearchSpace("plain-8", "stage", min_relus=2, max_relus=2)
    proposals = drive(new_proposer(space=space, trials=18, module_seeds=3))
    assert len({bits_of(p) for p in proposals}) == 18


def test_after_a_resume_a_module_gets_no_seed_too_many():
    study, space = new_study(), SearchSpace("preresnet-20", "block")
    options = {"trials": 40, "space": space, "sampler": "random", "module_seeds": 3}
    drive(new_proposer(study, **options), limit=38)
    drive(new_proposer(study, **options))
    seeds = Counter(trial.user_attrs["placement"] for trial in study.trials)
    assert sorted(seeds.values())[-3:] == [1, 3, 3]
    assert seeds["1*18"] == 3
