"""The journal: many records in one write, and what other processes read of it."""

from __future__ import annotations

import os

from helpers.replay import metrics, new_proposer
from optuna.trial import TrialState

from relu_search.run_folder.journal import GroupingJournal
from relu_search.run_folder.study import open_study
from search_spaces import SearchSpace


def test_a_proposal_reaches_the_journal_in_one_write(tmp_path, monkeypatch):
    """And what was written is what another process reads, record for record."""
    writes = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (writes.append(handle), real(handle)))
    space = SearchSpace("plain-38", "site")
    study = open_study(tmp_path / "journal", "s", ["maximize"])
    proposer = new_proposer(study=study, space=space, trials=9, sampler="tpe")
    for count in range(6):
        writes.clear()
        proposal = proposer.propose()
        assert len(writes) == 1
        proposer.observe(proposal.number, metrics("11", 1))
        writes.clear()
        proposer.conclude(proposal.number, None)
        assert len(writes) == 1
        other = open_study(tmp_path / "journal", "s", ["maximize"], resume=True)
        assert other.get_trials() == study.get_trials()
        assert len(other.get_trials(states=[TrialState.PRUNED])) == count + 1


def test_records_held_back_are_read_as_if_written(tmp_path):
    journal = GroupingJournal(tmp_path / "journal")
    journal.append_logs([{"number": 0}])
    with journal.grouped():
        journal.append_logs([{"number": 1}])
        assert list(journal.read_logs(0)) == [{"number": 0}, {"number": 1}]
        journal.append_logs([{"number": 2}, {"number": 3}])
        assert list(journal.read_logs(2)) == [{"number": 2}, {"number": 3}]
        assert list(GroupingJournal(tmp_path / "journal").read_logs(0)) == [{"number": 0}]
    for fresh in (journal, GroupingJournal(tmp_path / "journal")):
        assert [log["number"] for log in fresh.read_logs(0)] == [0, 1, 2, 3]
        assert [log["number"] for log in fresh.read_logs(3)] == [3]
