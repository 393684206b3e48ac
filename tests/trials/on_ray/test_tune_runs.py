"""The scheduler with the real Ray: recorded curves instead of training, an ASHA of our own."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from search_spaces import InputError
from trials.data.splits import ImageSet, TrainingData
from trials.on_ray.asha import scheduler_of
from trials.on_ray.session import ray_session
from trials.on_ray.tune_runs import run_trials
from trials.running.early_stopping import EarlyStopping, PastTrial
from trials.running.proposals import Proposal
from trials.running.resources import Resources, plan_resources
from trials.running.trial_files import TrialFiles
from trials.training.metrics import EpochMetrics, NonFiniteLossError
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

EPOCHS = 9
ALL_KEPT = TrialSpec(backbone="plain-8", placement="paired", recipe=Recipe(epochs=EPOCHS))

RETURNS, RAISES, DIVERGES, DIES, NO_EPOCH = 101, 102, 103, 104, 105
"""Seeds of specs that fail, each in its own way."""


def curve(seed: int) -> list[float]:
    """The recorded accuracies of a trial, without ties."""
    rng = random.Random(seed)
    level = rng.uniform(0.2, 0.8)
    return [level + rng.uniform(-0.1, 0.1) for _ in range(EPOCHS)]


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
            if spec.seed == DIES:
                os._exit(1)
            return SimpleNamespace(failure="data do not suit the network")
        on_epoch(recorded(spec, data, epoch))
    return SimpleNamespace(failure=None)


@dataclass
class Script:
    """A proposer with a fixed list of trials; writes down what it hears."""

    proposals: Sequence[Proposal]
    epochs: dict[int, list[EpochMetrics]] = field(default_factory=dict)
    ends: dict[int, str | None] = field(default_factory=dict)
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

    def conclude(self, number, failure):
        assert number not in self.ends
        self.ends[number] = failure

    @property
    def lengths(self) -> list[int]:
        return [len(self.epochs[p.number]) for p in self.proposals]


def script(seeds: Sequence[int], protected: Sequence[int] = ()) -> Script:
    """Trials numbered from 10, so that numbers and positions cannot be mistaken."""
    return Script(
        [
            Proposal(
                number=10 + i,
                spec=TrialSpec.from_json({**ALL_KEPT.to_json(), "seed": seed}),
                protected=i in protected,
            )
            for i, seed in enumerate(seeds)
        ]
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def asha(
    curves: Sequence[Sequence[float]],
    *,
    grace: int,
    factor: int,
    protected: Sequence[int] = (),
    sign: int = 1,
    rungs: dict[int, list[float]] | None = None,
) -> list[int]:
    """Epochs that sequential trials reach: stopped at a rung if worse than the best 1/factor."""
    rungs = {} if rungs is None else rungs
    milestones = [m for k in range(9) if (m := grace * factor**k) < EPOCHS]
    lengths = []
    for number, values in enumerate(curves):
        reached = EPOCHS
        for milestone in milestones:
            value = sign * values[milestone - 1]
            earlier = rungs.setdefault(milestone, [])
            is_bad = bool(earlier) and value < percentile(earlier, 1 - 1 / factor)
            earlier.append(value)
            if is_bad and number not in protected:
                reached = milestone
                break
        lengths.append(reached)
    return lengths


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


def stopping(mode="max", grace=1, factor=3):
    metric = "val_accuracy" if mode == "max" else "val_loss"
    return EarlyStopping(
        metric=metric, mode=mode, max_epochs=EPOCHS, grace_epochs=grace, reduction_factor=factor
    )


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_at_a_time(cluster, data):
    """Twenty trials, three of them protected, ASHA with rungs 1 and 3."""
    run = script(range(20), protected=(2, 5, 11))
    run_trials(
        run,
        data,
        stopping=stopping(),
        resources=Resources(concurrent=1),
        runner=replay,
    )
    return run


def test_the_cluster_has_the_cpus_asked_for(cluster):
    assert cluster["CPU"] == 2


def test_asha_stops_exactly_the_trials_that_a_simulation_says(one_at_a_time):
    expected = asha([curve(s) for s in range(20)], grace=1, factor=3, protected=(2, 5, 11))
    assert one_at_a_time.lengths == expected
    assert set(expected) == {1, 3, EPOCHS}


def test_protected_trials_run_to_the_end_where_others_would_be_stopped(one_at_a_time):
    unprotected = asha([curve(s) for s in range(20)], grace=1, factor=3)
    assert any(unprotected[i] < EPOCHS for i in (2, 5, 11))
    assert all(one_at_a_time.lengths[i] == EPOCHS for i in (2, 5, 11))


def test_every_epoch_is_observed_once_in_order_and_unchanged(one_at_a_time, data):
    for proposal in one_at_a_time.proposals:
        heard = one_at_a_time.epochs[proposal.number]
        expected = [recorded(proposal.spec, data, e) for e in range(1, len(heard) + 1)]
        assert heard == expected


def test_trials_without_a_failure_are_concluded_once_with_none(one_at_a_time):
    assert one_at_a_time.ends == dict.fromkeys(range(10, 30))
    assert one_at_a_time.most_at_once == 1


@pytest.fixture(scope="module")
def troubled(cluster, data, tmp_path_factory):
    """Good and failing trials mixed, two at once, no early stop."""
    scratch = tmp_path_factory.mktemp("scratch")
    run = script([1, RETURNS, RAISES, 2, DIVERGES, DIES, NO_EPOCH, 3, 4, 5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        run_trials(
            run,
            data,
            stopping=stopping(grace=EPOCHS),
            resources=Resources(concurrent=2, max_failures=0),
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
        (5, "the worker process died before it could say why"),
        (6, "data do not suit the network"),
    ],
    ids=["returned", "raised", "not finite", "killed", "before the first epoch"],
)
def test_a_failed_trial_is_concluded_with_its_reason(troubled, position, reason):
    run, _ = troubled
    assert run.ends[10 + position] == reason
    assert len(run.epochs[10 + position]) == (0 if position == 6 else 2)


def test_the_run_goes_on_after_failures(troubled):
    run, _ = troubled
    good = [0, 3, 7, 8, 9]
    assert [run.ends[10 + i] for i in good] == [None] * 5
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


# --- rungs after an interruption (no Ray session) ---------------------------------------------


def decisions(scheduler, seed: int) -> int:
    """Epochs that a scheduler grants to one more trial."""
    trial = SimpleNamespace(trial_id=f"new-{seed}", config={"number": f"new-{seed}"})
    scheduler.on_trial_add(None, trial)
    for epoch, value in enumerate(curve(seed), start=1):
        result = {"epoch": epoch, "val_accuracy": value, "val_loss": value}
        if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            return epoch
    raise AssertionError("the last epoch ends a trial")


@pytest.mark.parametrize("past", [0, 1, 2, 7, 15])
@pytest.mark.parametrize(("grace", "factor"), [(1, 3), (2, 2), (9, 3)])
@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_past_curves_fill_the_rungs_as_without_an_interruption(mode, sign, grace, factor, past):
    def simulated(seeds, rungs):
        curves = [curve(seed) for seed in seeds]
        return asha(curves, grace=grace, factor=factor, sign=sign, rungs=rungs)

    rungs: dict[int, list[float]] = {}
    curves = [
        dict(enumerate(curve(seed)[:reached], start=1))
        for seed, reached in enumerate(simulated(range(past), rungs))
    ]
    scheduler = scheduler_of(
        stopping(mode, grace, factor), [PastTrial(curve=curve) for curve in curves]
    )
    after = [decisions(scheduler, seed) for seed in range(200, 215)]
    assert after == simulated(range(200, 215), rungs)


def test_a_grace_period_beyond_the_end_means_no_early_stop():
    scheduler = scheduler_of(stopping(grace=50))
    assert [decisions(scheduler, seed) for seed in range(6)] == [EPOCHS] * 6


def test_a_failure_report_without_a_metric_is_no_reason_to_stop():
    scheduler = scheduler_of(stopping())
    trial = SimpleNamespace(trial_id="a", config={"number": 0, "protected": True})
    scheduler.on_trial_add(None, trial)
    report = {"epoch": 1, "failure": "no"}
    assert scheduler.on_trial_result(None, trial, report) == TrialScheduler.CONTINUE


# --- resources and addresses (no Ray session) -------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "cluster_has", "per_trial", "at_once"),
    [
        ({}, {"CPU": 4}, {"cpu": 1, "gpu": 0}, 4),
        ({}, {"CPU": 4, "GPU": 1}, {"cpu": 1, "gpu": 0.25}, 4),
        ({}, {"CPU": 16, "GPU": 1}, {"cpu": 1, "gpu": 0.25}, 4),
        ({}, {"CPU": 2, "GPU": 8}, {"cpu": 1, "gpu": 0.25}, 2),
        ({"cpus_per_trial": 0.5}, {"CPU": 2}, {"cpu": 0.5, "gpu": 0}, 4),
        ({"cpus_per_trial": 3}, {"CPU": 8}, {"cpu": 3, "gpu": 0}, 2),
        ({"gpus_per_trial": 0}, {"CPU": 4, "GPU": 1}, {"cpu": 1, "gpu": 0}, 4),
        ({"gpus_per_trial": 0.5}, {"CPU": 8, "GPU": 2}, {"cpu": 1, "gpu": 0.5}, 4),
        ({"gpus_per_trial": 1}, {"CPU": 8, "GPU": 2}, {"cpu": 1, "gpu": 1}, 2),
        ({"concurrent": 1}, {"CPU": 8}, {"cpu": 1, "gpu": 0}, 1),
        ({"concurrent": 20}, {"CPU": 8}, {"cpu": 1, "gpu": 0}, 20),
    ],
)
def test_resources_of_a_trial_and_trials_at_once(asked, cluster_has, per_trial, at_once):
    assert plan_resources(Resources(**asked), cluster_has) == (per_trial, at_once)


@pytest.mark.parametrize(
    ("asked", "cluster_has", "option"),
    [
        ({"cpus_per_trial": 5}, {"CPU": 4}, "--cpus-per-trial"),
        ({"cpus_per_trial": math.inf}, {"CPU": 4}, "--cpus-per-trial"),
        ({}, {}, "--cpus-per-trial"),
        ({"gpus_per_trial": 0.1}, {"CPU": 4}, "--gpus-per-trial"),
        ({"gpus_per_trial": 2}, {"CPU": 4, "GPU": 1}, "--gpus-per-trial"),
        ({"gpus_per_trial": 1.5}, {"CPU": 4, "GPU": 4}, "--gpus-per-trial"),  # Ray: whole above 1
    ],
)
def test_what_the_cluster_can_never_give_is_refused(asked, cluster_has, option):
    with pytest.raises(InputError, match=option) as caught:
        plan_resources(Resources(**asked), cluster_has)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "nonsense", "127.0.0.1:port", "127.0.0.1:99999", ":", ""],
)
def test_an_unreachable_address_is_one_clear_line(address):
    with (
        pytest.raises(InputError, match="no Ray cluster answers") as caught,
        ray_session(address=address),
    ):
        pass
    assert repr(address) in str(caught.value)
    assert "\n" not in str(caught.value)
