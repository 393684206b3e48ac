"""A search that was cut off goes on: nothing lost, nothing twice, the budget exact."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState
from replay import (
    REFERENCES,
    drive,
    metrics,
    new_proposer,
    new_study,
    stop_half,
)

from relu_search.proposer import was_interrupted
from relu_search.sampling import SAMPLERS
from relu_search.study import open_study
from trials.proposals import Proposal

# --- resume -----------------------------------------------------------------------------------


def interrupted_in(study, after: int, *, trials: int, sampler: str = "tpe") -> Proposal:
    """Finish `after` trials, then leave one open after its first epoch."""
    proposer = new_proposer(study, trials=trials, sampler=sampler)
    drive(proposer, stop=stop_half, limit=after)
    lost = proposer.propose()
    proposer.observe(lost.number, metrics(lost.spec.placement, 1))
    return lost


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("after", [0, 1, 2, 3, 7, 11])
def test_a_resumed_search_repeats_the_open_trial_and_meets_the_budget_exactly(after, sampler):
    study = new_study()
    lost = interrupted_in(study, after, trials=12, sampler=sampler)
    resumed = new_proposer(study, trials=12, sampler=sampler)
    assert study.trials[lost.number].state == TrialState.FAIL
    assert was_interrupted(study.trials[lost.number])
    assert resumed.remaining == 12 - after
    proposals = drive(resumed, stop=stop_half)
    assert len(proposals) == 12 - after
    again = [p for p in proposals if p.spec.placement == lost.spec.placement]
    assert [p.protected for p in again] == [lost.protected]
    counted = [t for t in study.trials if t.state.is_finished() and not was_interrupted(t)]
    texts = [t.user_attrs["placement"] for t in counted]
    assert len(texts) == len(set(texts)) == 12
    assert set(REFERENCES.values()) <= set(texts)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_all_references_stay_protected_across_an_interruption(after):
    study = new_study()
    interrupted_in(study, after, trials=8)
    proposals = drive(new_proposer(study, trials=8))
    protected = {p.spec.placement for p in proposals if p.protected}
    assert protected == set(list(REFERENCES.values())[after:])


def test_a_search_survives_interruption_after_interruption():
    study, open_placements = new_study(), []
    for _ in range(4):
        proposer = new_proposer(study, trials=6)
        drive(proposer, limit=1)
        open_placements.append(proposer.propose().spec.placement)
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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_search_exhausts_the_space_without_repetition(sampler):
    study = new_study()
    interrupted_in(study, 30, trials=200, sampler=sampler)
    resumed = new_proposer(study, trials=200, sampler=sampler)
    drive(resumed)
    counted = [t for t in study.trials if not was_interrupted(t)]
    assert sorted({t.user_attrs["placement"] for t in counted}) == sorted(
        t.user_attrs["placement"] for t in counted
    )
    assert len(counted) == 64
    assert resumed.exhausted


def test_a_journal_on_disk_is_resumed_by_another_process_view(tmp_path):
    journal = tmp_path / "study.journal"
    lost = interrupted_in(open_study(journal, "s", "maximize"), 2, trials=5)
    study = open_study(journal, "s", "maximize", resume=True)
    proposals = drive(new_proposer(study, trials=5))
    assert lost.spec.placement in {p.spec.placement for p in proposals}
    reread = open_study(journal, "s", "maximize", resume=True)
    states = [t.state.name for t in reread.trials]
    assert states.count("COMPLETE") == 5
    assert states.count("FAIL") == 1
