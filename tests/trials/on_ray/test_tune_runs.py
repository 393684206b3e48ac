"""Runs on real Ray with recorded curves instead of training, against a simulated ASHA."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.asha_simulation import EPOCHS, EarnedStopping, curve

from search_spaces import InputError, Placement
from trials.data.image_sets import ImageSet, TrainingData
from trials.early_stopping.rule import EarlyStopping
from trials.on_ray.tune_runs import run_trials
from trials.running.proposals import Proposal
from trials.running.resources import Resources
from trials.running.trial_files import TrialFiles
from trials.training import loop
from trials.training.loop import DeviceData
from trials.training.metrics import EpochMetrics, NonFiniteLossError
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

ALL_KEPT = TrialSpec(backbone="plain-8", placement="paired", recipe=Recipe(epochs=EPOCHS))

PROTECTED = (2, 14, 22)
"""Positions of trials that are protected."""
RETURNS, RAISES, DIVERGES, NO_EPOCH = 101, 102, 103, 104
"""Seeds of specs that fail, each in its own way."""


def recorded(spec: TrialSpec, data: TrainingData, epoch: int) -> EpochMetrics:
    value = curve(spec.seed)[epoch - 1]
    return EpochMetrics(
        epoch=epoch,
        train_loss=float(len(data.train)),  # shows that the data arrived
        train_accuracy=0.0,
        val_loss=value,
        val_accuracy=value,
        seconds=0.0,
    )


def replay(spec, data, *, device, save_to, checkpoint, on_epoch):
    """Stands for `run_trial`: reports recorded epochs, or fails as its seed says."""
    assert device == "cpu"
    assert save_to is None or save_to.name.startswith("trial-")
    for epoch in range(1, spec.recipe.epochs + 1):
        if spec.seed == NO_EPOCH or (epoch == 3 and spec.seed > 100):
            if spec.seed == RETURNS:
                return SimpleNamespace(failure="training loss became nan in epoch 3")
            if spec.seed == RAISES:
                raise ValueError("no\nsuch luck")
            if spec.seed == DIVERGES:
                raise NonFiniteLossError(3, "validation loss", math.inf)
            return SimpleNamespace(failure="data do not suit the network")
        on_epoch(recorded(spec, data, epoch))
    return SimpleNamespace(failure=None)


@dataclass
class Script:
    """A proposer with a fixed list of trials; writes down what it hears."""

    proposals: Sequence[Proposal]
    epochs: dict[int, list[EpochMetrics]] = field(default_factory=dict)
    ends: dict[int, str | None] = field(default_factory=dict)
    heard: list[tuple[int, EpochMetrics]] = field(default_factory=list)
    most_at_once: int = 0

    def propose(self):
        if len(self.epochs) == len(self.proposals):
            return None
        proposal = self.proposals[len(self.epochs)]
        self.epochs[proposal.number] = []
        self.most_at_once = max(self.most_at_once, len(self.epochs) - len(self.ends))
        return proposal

    def observe(self, number, metrics):
        assert number not in self.ends
        self.epochs[number].append(metrics)
        self.heard.append((number, metrics))

    def conclude(self, number, failure):
        assert number not in self.ends
        self.ends[number] = failure
        return True

    @property
    def lengths(self) -> list[int]:
        return [len(self.epochs[p.number]) for p in self.proposals]


def script(seeds: Sequence[int], protected: Sequence[int] = ()) -> Script:
    """Trials numbered from 10, so that numbers and positions cannot be mistaken.

    Each has a placement of its own, but a protected one, the first excepted, is a further seed of
    the first trial's.
    """
    return Script(
        [
            Proposal(
                number=10 + i,
                spec=TrialSpec(
                    backbone="plain-8",
                    placement=Placement(f"{1 if i in protected[1:] else i + 1:06b}"),
                    recipe=ALL_KEPT.recipe,
                    seed=seed,
                ),
                protected=i in protected,
            )
            for i, seed in enumerate(seeds)
        ]
    )


@pytest.fixture(scope="module")
def data():
    images = np.zeros((7, 8, 8, 1), np.uint8)
    labels = np.arange(7, dtype=np.int64) % 2
    return TrainingData(
        name="digits",
        train=ImageSet(images=images, labels=labels),
        validation=ImageSet(images=images, labels=labels),
        pad=0,
        flip=False,
        mean=(0.0,),
        std=(1.0,),
        classes=("0", "1"),
        split_seed=0,
        split_digest="",
    )


def stopping(grace=1, factor=2):
    return EarlyStopping(
        metric="val_accuracy",
        mode="max",
        max_epochs=EPOCHS,
        grace_epochs=grace,
        reduction_factor=factor,
        signal="val-accuracy",
    )


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_at_a_time(cluster, data):
    """Forty trials, three of them protected, with rungs 1, 2, 4 and 8."""
    run = script(range(40), protected=PROTECTED)
    run_trials(
        run,
        data,
        stopping=stopping(),
        resources=Resources(concurrent=1),
        runner=replay,
    )
    return run


def decided_as_simulated(run) -> set[int]:
    """Check every decision against the rule written out anew; the lengths of the trials."""
    oracle = EarnedStopping(grace=1, factor=2)
    for place, (number, metrics) in enumerate(run.heard):
        goes_on = oracle.goes_on(
            number,
            metrics.epoch,
            metrics.val_accuracy,
            spared=number - 10 in PROTECTED,
            placement=run.proposals[number - 10].spec.placement.text,
        )
        assert goes_on == any(later == number for later, _ in run.heard[place + 1 :])
    return set(run.lengths)


def test_ray_stops_exactly_the_trials_that_a_simulation_says(one_at_a_time):
    assert len(decided_as_simulated(one_at_a_time)) >= 3  # stops at two rungs or more, and the end


def test_the_rule_is_the_same_with_two_trials_at_once(cluster, data):
    run = script(range(40), protected=PROTECTED)
    audits, lock = {}, threading.Lock()

    def on_audit(number, epoch):
        with lock:  # cannot be pickled, like a study
            audits[number] = epoch

    rule = replace(stopping(), on_audit=on_audit)
    run_trials(run, data, stopping=rule, resources=Resources(concurrent=2), runner=replay)
    assert audits
    assert run.most_at_once == 2
    assert len(decided_as_simulated(run)) >= 3  # stops at two rungs or more, and the end


def test_protected_trials_run_to_the_end_where_others_would_be_stopped(one_at_a_time):
    oracle = EarnedStopping(grace=1, factor=2)
    lengths = []
    for number, proposal in enumerate(one_at_a_time.proposals):
        values = enumerate(curve(proposal.spec.seed), start=1)
        lengths.append(next(e for e, v in values if not oracle.goes_on(10 + number, e, v)))
    assert any(lengths[i] < EPOCHS for i in PROTECTED)
    assert all(one_at_a_time.lengths[i] == EPOCHS for i in PROTECTED)


def test_every_epoch_is_observed_once_in_order_and_unchanged(one_at_a_time, data):
    for proposal in one_at_a_time.proposals:
        heard = one_at_a_time.epochs[proposal.number]
        expected = [recorded(proposal.spec, data, e) for e in range(1, len(heard) + 1)]
        assert heard == expected


def test_trials_without_a_failure_are_concluded_once_with_none(one_at_a_time):
    assert one_at_a_time.ends == dict.fromkeys(range(10, 50))
    assert one_at_a_time.most_at_once == 1


@pytest.mark.parametrize("rule", [None, stopping(grace=EPOCHS)], ids=["no rule", "ASHA"])
def test_a_trial_ends_where_the_proposer_says_so(cluster, data, rule):
    class Ending(Script):
        def observe(self, number, metrics):
            super().observe(number, metrics)
            return (number, metrics.epoch) in {(11, 2), (12, 1), (13, EPOCHS)}

    run = Ending(script(range(5), protected=(1,)).proposals)
    run_trials(run, data, stopping=rule, resources=Resources(concurrent=2), runner=replay)
    assert run.lengths == [EPOCHS, 2, 1, EPOCHS, EPOCHS]
    assert run.ends == dict.fromkeys(range(10, 15))


@pytest.fixture(scope="module")
def troubled(cluster, data, tmp_path_factory):
    """Good and failing trials mixed, two at once, no early stop."""
    scratch = tmp_path_factory.mktemp("scratch")
    run = script([1, RETURNS, RAISES, 2, DIVERGES, NO_EPOCH, 3, 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        run_trials(
            run,
            data,
            stopping=stopping(grace=EPOCHS),
            resources=Resources(concurrent=2),
            files=TrialFiles(weights=scratch / "weights"),
            runner=replay,
        )
    return run, scratch


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (1, "training loss became nan in epoch 3"),
        (2, "ValueError: no\nsuch luck"),
        (4, "NonFiniteLossError: diverged: validation loss became inf in epoch 3"),
        (5, "data do not suit the network"),
    ],
    ids=["returned", "raised", "not finite", "before the first epoch"],
)
def test_a_failed_trial_is_concluded_with_its_reason(troubled, position, reason):
    run, _ = troubled
    assert run.ends[10 + position] == reason
    assert len(run.epochs[10 + position]) == (0 if position == 5 else 2)


def test_the_run_goes_on_after_failures(troubled):
    run, _ = troubled
    good = [0, 3, 6, 7]
    assert [run.ends[10 + i] for i in good] == [None] * 4
    assert all(len(run.epochs[10 + i]) == EPOCHS for i in good)


def test_epochs_of_two_trials_at_once_each_arrive_in_order(troubled):
    run, _ = troubled
    for heard in run.epochs.values():
        assert all(b.epoch == a.epoch + 1 for a, b in pairwise(heard))
    assert run.most_at_once in (2, 3)  # a failed one is concluded after the next


def test_a_run_leaves_no_scratch_files(troubled):
    _, scratch = troubled
    assert list(scratch.iterdir()) == []


def test_a_trial_that_asks_too_much_is_refused_before_it_starts(cluster, data):
    run = script([1])
    with pytest.raises(InputError, match="3 CPUs per trial are more than the 2"):
        run_trials(run, data, stopping=stopping(), resources=Resources(cpus_per_trial=3))
    assert run.epochs == {}


def count_uploads(spec, data, *, device, save_to, checkpoint, on_epoch):
    """Stands for `run_trial` on a device that is not the CPU; the loss is the number of uploads."""
    torch.Tensor.pin_memory = lambda tensor: tensor  # there is no GPU
    DeviceData.of(data, torch.device("meta"))
    uploads = float(loop._kept_data.cache_info().misses)
    on_epoch(replace(recorded(spec, data, 1), train_loss=uploads, seconds=float(os.getpid())))
    return SimpleNamespace(failure=None)


def test_the_trials_of_a_worker_upload_the_data_once(cluster, data):
    """Ray gives each trial objects of its own, but in the same memory."""
    pixels, labels = np.ones((3000, 8, 8, 1), np.uint8), np.zeros(3000, np.int64)
    run = script(range(4))
    run_trials(
        run,
        replace(data, train=ImageSet(images=pixels, labels=labels)),
        stopping=None,
        resources=Resources(concurrent=1),
        runner=count_uploads,
    )
    ends = [epochs[-1] for epochs in run.epochs.values()]
    assert len({metrics.seconds for metrics in ends}) < len(ends)  # processes
    assert {metrics.train_loss - ends[0].train_loss for metrics in ends} == {0}
