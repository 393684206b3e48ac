"""The proposer on recorded curves: no Ray, no training, one driver loop that plays scheduler."""

from __future__ import annotations

import random
from itertools import product
from statistics import mean

import pytest
from helpers.replay import (
    RECIPE,
    REFERENCES,
    Ears,
    bits_of,
    dfn_canonical,
    drive,
    metrics,
    new_proposer,
    new_study,
    stop_half,
)
from optuna.trial import TrialState

from relu_search.settings.search_options import SAMPLERS
from search_spaces import InputError, SearchSpace, module_placement, reference_modules
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics

# --- references -------------------------------------------------------------------------------

DISTINCT = [name for name in SAMPLERS if name != "gp"]  # which may repeat a placement


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hand_designed_modules_come_first_in_order_and_protected(sampler):
    proposals = drive(new_proposer(trials=8, sampler=sampler), stop=stop_half)
    assert [p.spec.placement.text for p in proposals[:3]] == list(REFERENCES.values())
    assert [p.protected for p in proposals] == [True] * 3 + [False] * 5


def test_references_outside_the_limits_are_still_trained():
    space = SearchSpace("plain-8", "stage", min_relus=2, max_relus=2)
    proposals = drive(new_proposer(space=space, trials=100))
    assert [bits_of(p) for p in proposals[:3]] == ["111111", "010101", "000000"]
    assert all(bits_of(p).count("1") == 2 for p in proposals[3:])
    assert len(proposals) == 3 + 15  # 6 over 2


def test_a_reference_that_the_space_cannot_write_is_left_out():
    space = SearchSpace("preresnet-8", "stage")
    references = {name: module_placement(space.backbone, name) for name in ("pyramidnet", "2:1")}
    proposals = drive(new_proposer(space=space, trials=2, references=references))
    assert [p.protected for p in proposals] == [True, False]
    assert bits_of(proposals[0]) == "010101"


# --- states -----------------------------------------------------------------------------------


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


def test_past_curves_are_those_of_all_trials_that_ended(told):
    study, proposals, _ = told
    curves = [past.curve for past in new_proposer(study, trials=20).past_trials()]
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


# --- never twice, budget, limits --------------------------------------------------------------

PLAIN = {"".join(bits) for bits in product("01", repeat=6)}
DFN_STAGE = {dfn_canonical("".join(bits)) for bits in product("01", repeat=11)}
DFN_NETWORK = {
    dfn_canonical("".join(p) * 2 + p[0] + p[2] + max(p[1], p[3])) for p in product("01", repeat=4)
}
SPACES = {
    "plain network": (SearchSpace("plain-8", "network"), {a * 3 for a in ("00", "01", "10", "11")}),
    "plain stage": (SearchSpace("plain-8", "stage"), PLAIN),
    "dfn network": (SearchSpace("dfn-14", "network"), DFN_NETWORK),
    "dfn stage, 1 to 2 ReLUs": (
        SearchSpace("dfn-14", "stage", max_relus=2),
        {b for b in DFN_STAGE if b.count("1") <= 2},
    ),
}


@pytest.mark.parametrize("sampler", DISTINCT)
@pytest.mark.parametrize("name", SPACES)
def test_every_placement_is_proposed_exactly_once_until_the_space_is_exhausted(name, sampler):
    space, everything = SPACES[name]
    canonical = dfn_canonical if name.startswith("dfn") else str
    proposer = new_proposer(space=space, trials=500, sampler=sampler, seed=1)
    proposals = drive(proposer, stop=stop_half)
    seen = [canonical(bits_of(p)) for p in proposals]
    outside = {canonical(p.bits) for p in reference_modules(space.backbone).values()}
    assert len(seen) == len(set(seen))
    assert set(seen) == everything | outside
    assert proposer.exhausted
    assert proposer.propose() is None


@pytest.mark.parametrize("sampler", DISTINCT)
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
    assert (proposer.remaining, proposer.unfinished, proposer.exhausted) == (0, 0, False)


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_a_budget_below_the_references_trains_the_first_of_them(budget):
    proposer = new_proposer(trials=budget)
    texts = [p.spec.placement.text for p in drive(proposer)]
    assert texts == list(REFERENCES.values())[:budget]
    assert not proposer.exhausted


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 3), (6, 6), (5, None)])
def test_limits_hold_for_every_proposal_but_the_references(sampler, low, high):
    space = SearchSpace("plain-8", "block", min_relus=low, max_relus=high)
    proposals = drive(new_proposer(space=space, trials=30, sampler=sampler))
    kept = [bits_of(p).count("1") for p in proposals if not p.protected]
    assert all(low <= k <= (6 if high is None else high) for k in kept)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_study_records_what_is_really_trained(sampler):
    study, space = new_study(), SearchSpace("plain-8", "stage", max_relus=3)
    proposals = drive(new_proposer(study, space, trials=30, sampler=sampler))
    patterns = ["".join(t.params[f"stage{i}"] for i in (1, 2, 3)) for t in study.trials]
    assert patterns == [bits_of(p) for p in proposals]


# --- repeatable -------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_repeats_every_proposal_and_another_does_not(sampler):
    space = SearchSpace("plain-20", "stage" if sampler == "grid" else "block")

    def run(seed):
        proposer = new_proposer(space=space, trials=25, sampler=sampler, seed=seed)
        return [p.spec.placement.text for p in drive(proposer, stop=stop_half)]

    assert run(5) == run(5) != run(6)


def test_tpe_learns_from_what_it_observes():
    """Reward is the share of dropped ReLUs: TPE must propose more of it than chance does."""
    space = SearchSpace("plain-38", "block")
    proposer = new_proposer(space=space, trials=60, references={}, seed=2)
    kept = []
    while (proposal := proposer.propose()) is not None:
        kept.append(bits_of(proposal).count("1"))
        reward = {**metrics("", 3).to_json(), "val_accuracy": 1 - kept[-1] / 36}
        proposer.observe(proposal.number, EpochMetrics(**reward))
        proposer.conclude(proposal.number, None)
    assert mean(kept[-20:]) < 0.8 * mean(kept[:10])


# --- samplers by name -------------------------------------------------------------------------


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match=r"anneal.*tpe"):
        new_proposer(trials=3, sampler="anneal")


def test_grid_refuses_a_space_that_cannot_be_enumerated():
    with pytest.raises(InputError, match="granularity"):
        new_proposer(space=SearchSpace("plain-38", "block"), trials=3, sampler="grid")


def test_grid_visits_in_another_order_for_another_seed():
    orders = [
        [p.spec.placement.text for p in drive(new_proposer(trials=64, sampler="grid", seed=seed))]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_a_tight_corner_of_a_huge_space_is_searched_to_its_end():
    space = SearchSpace("plain-38", "site", min_relus=35)  # 1 + 36 of 2**36 placements
    proposer = new_proposer(space=space, trials=100, references={})
    proposals = drive(proposer)
    assert len({bits_of(p) for p in proposals}) == len(proposals) == 37
    assert proposer.exhausted
