"""A search that is cut off anywhere makes the same decisions about early stopping."""

from __future__ import annotations

import random

import pytest
from helpers.replay import RECIPE, new_proposer
from optuna.trial import TrialState

from relu_search.compat import journal_of
from relu_search.run_folder.study import AUDIT_ATTRIBUTE, history_of, open_study
from trials.early_stopping.rule import EarlyStopping
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import SchedulerTrial, add_trial, remove_trial, report
from trials.training.metrics import EpochMetrics

TRIALS = 60


class Cut(BaseException):
    """The process ends here."""


def epoch_of(proposal, epoch):
    """A curve whose early epochs predict its end."""
    rng = random.Random(f"{proposal.spec.placement.text} {proposal.spec.seed}")
    level = rng.uniform(1, 2)
    loss = level + random.Random(f"{level} {epoch}").uniform(-0.03, 0.03)
    return EpochMetrics(
        epoch=epoch,
        train_loss=loss,
        train_accuracy=0.5,
        val_loss=loss,
        val_accuracy=1 / loss,
        seconds=0.5,
    )


def search(study, costs_of):
    """One trial at a time, by the real proposer and the real scheduler, until the budget is spent.

    An interrupted trial reports its epochs again, as it does from a checkpoint.
    """
    proposer = new_proposer(
        study, trials=TRIALS, sampler="random", metric="val_loss", costs_of=costs_of
    )
    stopping = EarlyStopping(
        metric="val_loss",
        mode="min",
        max_epochs=RECIPE.epochs,
        grace_epochs=1,
        on_audit=proposer.note_audit,
    )
    scheduler = scheduler_of(stopping, proposer.past_trials())
    while (proposal := proposer.propose()) is not None:
        trial = SchedulerTrial.of(proposal)
        add_trial(scheduler, trial)
        for epoch in range(1, RECIPE.epochs + 1):
            metrics = epoch_of(proposal, epoch)
            proposer.observe(proposal.number, metrics)
            if not report(scheduler, trial, metrics.to_json()):
                break
        remove_trial(scheduler, trial)
        proposer.conclude(proposal.number, None)


def told(study):
    return [
        (
            t.number,
            t.state.name,
            t.params,
            t.values,
            t.user_attrs.get(AUDIT_ATTRIBUTE),
            history_of(t),
        )
        for t in study.trials
    ]


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_cut_between_any_two_records_changes_no_decision(objectives, seed, tmp_path):
    directions = ["minimize"] * objectives
    costs_of = None if objectives == 1 else lambda placement: (float(placement.kept),)
    whole = open_study(tmp_path / "whole", "s", directions)
    search(whole, costs_of)
    rng, cuts, ended = random.Random(seed), 0, False
    open_study(tmp_path / "cut", "s", directions)
    while not ended:
        study = open_study(tmp_path / "cut", "s", directions, resume=True)
        backend, left = journal_of(study), iter(range(rng.randrange(1, 120)))
        write = backend.append_logs

        def append_logs(logs, write=write, left=left):
            if next(left, None) is None:
                raise Cut
            write(logs)

        backend.append_logs = append_logs
        try:
            search(study, costs_of)
            ended = True
        except Cut:
            cuts += 1
    assert cuts >= 5
    states = [t.state for t in whole.trials]
    assert states.count(TrialState.PRUNED) >= 5
    assert any(AUDIT_ATTRIBUTE in t.user_attrs for t in whole.trials)
    assert told(study) == told(whole)
