"""A search that was cut off goes on: nothing lost, nothing twice, the budget exact."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from helpers.replay import REFERENCES, drive, metrics, new_proposer, new_study, stop_half
from optuna.trial import TrialState

from relu_search.compat import journal_of
from relu_search.run_folder.study import open_study
from relu_search.settings.search_options import SAMPLERS
from search_spaces import SearchSpace
from trials.running.proposals import Proposal

# --- resume -----------------------------------------------------------------------------------

DISTINCT = [name for name in SAMPLERS if name != "gp"]  # which may repeat a placement


def interrupted_in(study, after: int, *, trials: int, sampler: str = "tpe") -> Proposal:
    """Finish `after` trials, then leave one open after its first epoch."""
    proposer = new_proposer(study, trials=trials, sampler=sampler)
    drive(proposer, stop=stop_half, limit=after)
    lost = proposer.propose()
    proposer.observe(lost.number, metrics(lost.spec.placement.text, 1))
    return lost


class Cut(BaseException):
    """The process ends here."""


def told(study):
    return [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in study.trials
    ]


def cut_after(study, records: int):
    """Let a study write so many records of its journal, then end the process."""
    backend, left = journal_of(study), iter(range(records))
    write = backend.append_logs

    def append_logs(logs):
        if next(left, None) is None:
            raise Cut
        write(logs)

    backend.append_logs = append_logs


@pytest.mark.parametrize(("sampler", "seed"), [(n, i % 2) for i, n in enumerate(SAMPLERS)])
def test_a_search_cut_off_between_any_two_records_ends_as_if_it_had_not_been(
    sampler, seed, tmp_path
):
    def search(study):
        drive(new_proposer(study, trials=30, sampler=sampler, seed=seed), stop=stop_half)

    whole = open_study(tmp_path / "whole", "s", ["maximize"])
    search(whole)
    rng, cuts, ended = random.Random(seed), 0, False
    open_study(tmp_path / "cut", "s", ["maximize"])
    while not ended:
        study = open_study(tmp_path / "cut", "s", ["maximize"], resume=True)
        cut_after(study, rng.randrange(1, 60))
        try:
            search(study)
            ended = True
        except Cut:
            cuts += 1
    assert cuts >= 5
    assert told(study) == told(whole)


@pytest.mark.parametrize(
    ("sampler", "after"),
    [*((name, (0, 2, 3, 11)[i % 4]) for i, name in enumerate(DISTINCT)), ("tpe", 2), ("tpe", 11)],
)
def test_a_resumed_search_goes_on_with_the_open_trial_and_meets_the_budget_exactly(after, sampler):
    study = new_study()
    lost = interrupted_in(study, after, trials=12, sampler=sampler)
    resumed = new_proposer(study, trials=12, sampler=sampler)
    assert study.trials[lost.number].state == TrialState.RUNNING
    assert resumed.remaining == 12 - after
    known = max(study.trials[lost.number].intermediate_values)
    proposals = drive(resumed, stop=stop_half)
    assert proposals[0] == replace(lost, passed=known)
    assert [p.number for p in proposals] == list(range(after, 12))
    texts = [t.user_attrs["placement"] for t in study.trials]
    assert len(texts) == len(set(texts)) == 12
    assert all(t.state.is_finished() for t in study.trials)
    assert set(REFERENCES.values()) <= set(texts)


def test_several_open_trials_go_on_in_their_order():
    study = new_study()
    first = new_proposer(study, trials=9)
    drive(first, limit=4)
    lost = [first.propose() for _ in range(3)]
    assert drive(new_proposer(study, trials=9))[:3] == lost
    assert len(study.trials) == 9


@pytest.mark.parametrize("after", [0, 1, 2])
def test_all_references_stay_protected_across_an_interruption(after):
    study = new_study()
    interrupted_in(study, after, trials=8)
    proposals = drive(new_proposer(study, trials=8))
    protected = {p.spec.placement.text for p in proposals if p.protected}
    assert protected == set(list(REFERENCES.values())[after:])


def test_a_search_survives_interruption_after_interruption():
    study, open_placements = new_study(), []
    for _ in range(4):
        proposer = new_proposer(study, trials=6)
        drive(proposer, limit=1)
        open_placements.append(proposer.propose().spec.placement.text)
    assert new_proposer(study, trials=6).remaining == 2
    drive(new_proposer(study, trials=6))
    counted = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len({t.user_attrs["placement"] for t in counted}) == len(counted) == 6
    assert set(open_placements) <= {t.user_attrs["placement"] for t in counted}


def test_a_finished_search_proposes_nothing_more_unless_the_budget_grows():
    study = new_study()
    drive(new_proposer(study, trials=5))
    assert new_proposer(study, trials=5).propose() is None
    assert new_proposer(study, trials=3).propose() is None
    more = drive(new_proposer(study, trials=9))
    assert len(more) == 4
    assert len({t.user_attrs["placement"] for t in study.trials}) == 9


@pytest.mark.parametrize("sampler", ["tpe", "grid", "evolution"])
def test_a_resumed_search_tries_the_whole_space_before_it_repeats(sampler):
    study = new_study()
    interrupted_in(study, 30, trials=70, sampler=sampler)
    drive(new_proposer(study, trials=70, sampler=sampler))
    texts = [t.user_attrs["placement"] for t in study.trials]
    assert (len(set(texts[:64])), len(texts)) == (64, 70)


def test_a_journal_on_disk_is_resumed_by_another_process_view(tmp_path):
    journal = tmp_path / "study.journal"
    lost = interrupted_in(open_study(journal, "s", ["maximize"]), 2, trials=5)
    study = open_study(journal, "s", ["maximize"], resume=True)
    proposals = drive(new_proposer(study, trials=5))
    assert lost.spec.placement.text in {p.spec.placement.text for p in proposals}
    reread = open_study(journal, "s", ["maximize"], resume=True)
    states = [t.state.name for t in reread.trials]
    assert states == ["COMPLETE"] * 5


def test_enqueued_trials_are_proposed_after_a_resume_though_they_fill_the_space():
    """The first process is killed before it trains one of the placements that it enqueued."""
    space, study = SearchSpace("plain-8", "network"), new_study()
    others = [p for p in space.enumerate() if p.text not in REFERENCES.values()]
    new_proposer(study, space, trials=10, first=others)
    resumed = new_proposer(study, space, trials=10, first=others)
    texts = [proposal.spec.placement.text for proposal in drive(resumed)]
    assert texts[: len(REFERENCES)] == list(REFERENCES.values())
    new = len(REFERENCES) + len(others)
    assert sorted(texts[len(REFERENCES) : new]) == sorted(p.text for p in others)
