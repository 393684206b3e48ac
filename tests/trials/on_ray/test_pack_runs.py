"""Packed trials on real Ray: every trial is proposed, observed, stopped and concluded as usual."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from helpers.proposals import Proposals, better_trials

from search_spaces import InputError, Placement
from trials import Recipe, TrialSpec, load_data
from trials.data.image_sets import ImageSet
from trials.early_stopping.rule import EarlyStopping
from trials.on_ray import pack_runs
from trials.on_ray.pack_runs import run_packed
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources
from trials.running.trial_files import TrialFiles
from trials.training.metrics import EpochMetrics

EPOCHS = 3
SPEC = TrialSpec(
    backbone="plain-8", width=4, placement="2:1", recipe=Recipe(epochs=EPOCHS, batch_size=32)
)
STOPPING = EarlyStopping(metric="val_loss", mode="min", max_epochs=EPOCHS, grace_epochs=1)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=100)


def run(specs, data, **options):
    proposals = Proposals(specs)
    options = {"pack": 3, "stopping": STOPPING, "resources": Resources(), **options}
    run_packed(proposals, data, **options)
    return proposals


def test_all_trials_run_in_packs_and_the_hopeless_are_stopped(cluster, data, tmp_path):
    """Weights of whole trials are written, and all checkpoints are removed."""
    files = TrialFiles(weights=tmp_path / "weights", checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    told = run(
        [replace(SPEC, placement=Placement(f"{n + 1:06b}"), seed=n) for n in range(14)],
        data,
        files=files,
        past=better_trials(30, EPOCHS),
    )
    assert told.ended == dict.fromkeys(range(14))
    assert told.most_open == 6  # two workers of three slots, filled again
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in told.epochs.values())
    whole = {0} | {n for n in range(14) if STOPPING.is_audit(n)}  # trial 0 is protected
    assert 1 < len(whole) < 14
    assert {n: len(e) for n, e in told.epochs.items()} == {
        n: EPOCHS if n in whole else 1 for n in range(14)
    }
    names = {path.name for path in files.weights.iterdir()}
    assert names == {f"trial-{number:04d}.safetensors" for number in whole}
    assert list(files.checkpoints.iterdir()) == []


def test_concurrent_limits_all_packs_and_one_that_cannot_be_built_fails_alone(cluster, data):
    specs = [replace(SPEC, seed=seed) for seed in range(4)]
    wrong = replace(SPEC, activation="prelu")
    told = run([*specs, wrong], data, resources=Resources(concurrent=2))
    assert told.most_open == 2
    assert [told.ended[number] for number in range(4)] == [None] * 4
    assert "prelu" in told.ended[4]


def test_a_trial_ends_where_the_proposer_says_so_and_may_leave_a_checkpoint(
    cluster, data, tmp_path
):
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    specs = [replace(SPEC, seed=seed) for seed in range(3)]
    told = Proposals(specs, cut_off={1: 2})
    options = {"stopping": replace(STOPPING, grace_epochs=EPOCHS), "resources": Resources()}
    run_packed(told, data, pack=3, files=files, **options)
    assert told.epochs == {0: [1, 2, 3], 1: [1, 2], 2: [1, 2, 3]}
    assert told.ended == dict.fromkeys(range(3))
    (kept,) = files.checkpoints.iterdir()
    assert kept.name == files.checkpoint_name(specs[1], data.name)


def test_the_reason_why_no_pack_can_be_built_is_told(cluster, data):
    """The trials fail for one reason, so that the run stops; they stay open."""
    pixels = np.array(["no pixels"] * len(data.train.labels))
    broken = replace(data, train=ImageSet(images=pixels, labels=data.train.labels))
    told = Proposals([replace(SPEC, seed=seed) for seed in range(6)])
    with pytest.raises(RunStoppedError, match=r"3 trials in a row .*TypeError: can't convert np"):
        run_packed(told, broken, pack=3, stopping=STOPPING, resources=Resources())
    assert told.ended == {}


def test_trials_of_a_worker_that_died_go_on(cluster, data, tmp_path):
    """The process is killed after its first epoch; another one continues from the checkpoints."""
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    specs = [replace(SPEC, seed=seed) for seed in range(2)]
    killed = []

    class Killing(Proposals):
        def observe(self, number, metrics):
            super().observe(number, metrics)
            if metrics.epoch == 1 and not killed:
                killed.append(self.worker)
                os.kill(self.worker, signal.SIGKILL)

    fresh = pack_runs._Worker.restart

    def restart(worker):
        fresh(worker)
        told.worker = pack_runs.ray.get(worker.actor.__ray_call__.remote(_pid))

    told = Killing(specs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_runs._Worker, "restart", restart)
        run_packed(
            told,
            data,
            pack=2,
            stopping=replace(STOPPING, grace_epochs=EPOCHS),
            resources=Resources(concurrent=2),
            files=files,
        )
    assert len(killed) == 1
    assert told.ended == {0: None, 1: None}
    assert told.epochs == {0: [1, 2, 3], 1: [1, 2, 3]}


def _pid(_actor):
    return os.getpid()


class FullWorker:
    """A worker on a GPU that holds a few trials at once; its epochs end at once."""

    holds: int

    def __init__(self, per_worker, of_actor, room):
        self.share, self.room, self.numbers, self.training = per_worker["gpu"], room, [], None
        self.shares_gpu = self.share < 1

    def add(self, proposal):
        self.numbers.append(proposal.number)

    def drop(self, number):
        self.numbers.remove(number)

    def restart(self):
        self.numbers = []

    def start_epoch(self):
        self.training = object()

    def close(self):
        pass

    def finished_epoch(self):
        self.training = None
        if len(self.numbers) > self.holds * self.share:
            raise pack_runs._GpuFullError("out of GPU memory: x")
        epochs = range(1, EPOCHS + 1)
        return [(number, epoch_of(epoch)) for number in self.numbers for epoch in epochs]


def epoch_of(epoch):
    values = dict.fromkeys(EpochMetrics.__annotations__, 0.5)
    return EpochMetrics(**{**values, "epoch": epoch})


@pytest.mark.parametrize(
    ("holds", "trials", "halved", "waiting", "failures"),
    [
        (8, 12, [], 0, 0),
        (4, 12, ["4 goes on with 2"] * 2, 0, 0),
        (1, 3, ["2 goes on with 1"], 2, 0),  # both workers are closed, the rest is trained alone
        (0, 5, ["2 goes on with 1", "3 goes on with 1"], 2, 5),
    ],
)
def test_packs_shrink_until_they_fit_and_a_trial_fails_only_alone(
    holds, trials, halved, waiting, failures, data, monkeypatch
):
    """By fake workers; `test_gpus.py` has real ones."""
    monkeypatch.setattr(pack_runs, "_Worker", FullWorker)
    monkeypatch.setattr(FullWorker, "holds", holds, raising=False)
    monkeypatch.setattr(pack_runs, "node_resources", lambda: [{"CPU": 8, "GPU": 1}])
    monkeypatch.setattr(pack_runs.ray, "put", lambda it: it)
    monkeypatch.setattr(pack_runs.ray, "wait", lambda refs, num_returns: (refs[:1], refs[1:]))
    said = []
    told = run(
        [replace(SPEC, seed=seed) for seed in range(trials)],
        data,
        pack=4,
        stopping=replace(STOPPING, grace_epochs=EPOCHS),
        resources=Resources(gpus_per_trial=0.5),
        say=said.append,
    )
    assert set(told.ended) == set(range(trials))
    reasons = [reason for reason in told.ended.values() if reason is not None]
    whole = "out of GPU memory: x, alone on the card; lower --width or the batch size"
    assert reasons == [whole] * failures
    packs = [f"out of GPU memory: a pack of {words} at once" for words in halved]
    assert sorted(line for line in said if " a pack of " in line) == packs
    assert (
        len([line for line in said if "it waits until" in line])
        == waiting
        == len(said) - len(packs)
    )


def test_more_than_the_cluster_has_is_refused(cluster, data):
    with pytest.raises(InputError, match="CPUs per trial"):
        run([SPEC], data, resources=Resources(cpus_per_trial=64))
