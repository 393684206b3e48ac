"""Trials on pretended GPUs: which worker sees one, and what happens when a GPU is full.

The GPU exists only in Ray's books, so everything is trained on the CPU. A full GPU is an error that
the worker raises unless its share of the GPU is large enough.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest
import ray
import torch
from helpers.proposals import Proposals

from search_spaces import InputError
from trials.data.splits import load_data
from trials.early_stopping.rule import EarlyStopping
from trials.fast.packing import PackedTraining
from trials.on_ray import one_worker, pack_runs
from trials.on_ray.one_worker import call_in_worker, with_share_measured
from trials.on_ray.pack_runs import run_packed
from trials.on_ray.tune_runs import run_trials
from trials.running.devices import share_for
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources, plan_resources
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

EPOCHS = 3
SPEC = TrialSpec(
    backbone="plain-5", width=2, placement="010", recipe=Recipe(epochs=EPOCHS, batch_size=32)
)
NEVER = EarlyStopping(metric="val_loss", mode="min", max_epochs=EPOCHS, grace_epochs=EPOCHS)
HALF = Resources(gpus_per_trial=0.5)
ALONE = ", alone on the card; lower --width or the batch size"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=64, validation_images=20)


@pytest.fixture
def files(tmp_path):
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    return files


def share_of_gpu():
    return ray.get_runtime_context().get_assigned_resources().get("GPU", 0)


def facts(*arguments, device, say):
    say("first")
    say("second")
    return arguments, device, os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


def failing(error, *, device, say):
    raise error


def dying(*, device, say):
    os._exit(1)


def test_a_function_runs_in_a_worker_with_the_device_of_a_trial(gpu_cluster):
    said = []
    *found, worker = call_in_worker({"cpu": 1, "gpu": 0.25}, facts, 1, 2, say=said.append)
    assert found == [(1, 2), "cuda", "0"]
    assert worker != os.getpid()
    assert said == ["first", "second"]
    *found, other = call_in_worker({"cpu": 1, "gpu": 0}, facts, say=said.append)
    assert found == [(), "cpu", ""], "a worker without GPUs must see none"
    assert other != worker, "the process has ended, with all that it held on the GPU"


def test_what_a_function_raises_in_a_worker_is_raised_here(gpu_cluster):
    on_cpu = partial(call_in_worker, {"cpu": 1, "gpu": 0}, say=print)
    with pytest.raises(InputError, match="too small"):
        on_cpu(failing, InputError("too small"))
    with pytest.raises(RunStoppedError, match="Ray has failed"):
        on_cpu(dying)


def full_gpu(folder, needs):
    """Trains on the CPU, but fails in its second epoch if its share of the GPU is too small."""

    def runner(spec, data, *, device, on_epoch, **options):
        assert device == "cuda"
        share = share_of_gpu()
        with (folder / f"{spec.seed}").open("a") as shares:
            shares.write(f"{share:g} ")

        def report(metrics):
            if metrics.epoch == 2 and share < needs.get(spec.seed, 0):
                raise torch.OutOfMemoryError(FULL)
            on_epoch(metrics)

        return run_trial(spec, data, device="cpu", on_epoch=report, **options)

    return runner


@pytest.mark.slow
def test_a_trial_whose_gpu_is_full_starts_again_alone_and_the_others_go_on(
    gpu_cluster, data, files, tmp_path
):
    """Trial 1 needs a whole GPU; trial 2 needs more than there is."""
    ends, said = {}, []

    def ended(number, epochs, failure):
        assert number not in ends
        ends[number] = ([metrics.epoch for metrics in epochs], failure)

    specs = [replace(SPEC, seed=seed) for seed in range(4)]
    run_trials(
        TrialList(specs, ended=ended),
        data,
        stopping=None,
        resources=HALF,
        files=files,
        runner=full_gpu(tmp_path, {1: 1, 2: 2}),
        say=said.append,
    )
    whole = ([1, 2, 3], None)
    failed = ([1], f"out of GPU memory: {FULL}{ALONE}")
    assert ends == {0: whole, 1: whole, 2: failed, 3: whole}
    shares = [(tmp_path / f"{seed}").read_text().split() for seed in range(4)]
    assert shares == [["0.5"], ["0.5", "1"], ["0.5", "1"], ["0.5"]]
    assert sorted(said) == [
        f"trial {number}: out of GPU memory; it starts again, alone on a GPU" for number in (1, 2)
    ]


@pytest.mark.slow
def test_a_trial_with_a_whole_gpu_is_alone_at_once(gpu_cluster, data, tmp_path):
    ends = {}
    run_trials(
        TrialList([SPEC], ended=lambda number, epochs, failure: ends.update({number: failure})),
        data,
        stopping=None,
        resources=Resources(gpus_per_trial=1),
        runner=full_gpu(tmp_path, {0: 2}),
    )
    assert ends == {0: f"out of GPU memory: {FULL}{ALONE}"}
    assert (tmp_path / "0").read_text().split() == ["1"]


class FullGpu(pack_runs._Pack):
    """A pack on the CPU that needs one unit of memory per member, 3 per member with seed 100 or
    more, and 9 with seed 200 or more; a GPU has 4 units."""

    @property
    def _training(self):
        if self._built is None:
            self._built = PackedTraining(self._data, "cpu")
        return self._built

    def epoch(self, joining, leaving):
        events = super().epoch(joining, leaving)
        members = self._training.members.values()
        need = sum({0: 1, 1: 3, 2: 9}[member.spec.seed // 100] for member in members)
        if need > 4 * share_of_gpu():
            raise torch.OutOfMemoryError(FULL)
        return events


def packed(seeds, data, files, monkeypatch, **options):
    monkeypatch.setattr(pack_runs, "_pack_actor", ray.remote(FullGpu))
    told, said = Proposals([replace(SPEC, seed=seed) for seed in seeds]), []
    options = {"pack": 4, "resources": HALF, "stopping": NEVER, **options}
    run_packed(told, data, files=files, say=said.append, **options)
    assert not list(files.checkpoints.iterdir())
    return told, said


@pytest.mark.slow
def test_a_pack_that_is_too_large_is_halved_and_all_its_trials_end(
    gpu_cluster, data, files, monkeypatch
):
    told, said = packed(range(8), data, files, monkeypatch)
    assert told.ended == dict.fromkeys(range(8))
    assert list(told.epochs.values()) == [[1, 2, 3]] * 8
    assert said == ["out of GPU memory: a pack of 4 goes on with 2 at once"] * 2


@pytest.mark.slow
def test_a_trial_too_large_for_its_share_waits_for_a_gpu_and_fails_only_there(
    gpu_cluster, data, files, monkeypatch
):
    """Trial 1 fits on a whole GPU, trial 3 on none; both close a worker."""
    told, said = packed([0, 100, 1, 200, 2, 3], data, files, monkeypatch, pack=1)
    failure = f"out of GPU memory: {FULL}{ALONE}"
    assert told.ended == {**dict.fromkeys(range(6)), 3: failure}
    assert told.epochs == {number: [] if number == 3 else [1, 2, 3] for number in range(6)}
    assert sorted(said) == [
        f"trial {number}: out of GPU memory; it waits until it has a GPU to itself"
        for number in (1, 3)
    ]


def test_the_share_is_measured_in_a_worker_with_a_whole_gpu(gpu_cluster, data, monkeypatch):
    asked, said = [], []

    def measured(resources, function, *arguments, say):
        asked.append((resources, function.__name__))
        return 3 * 2**30, 10 * 2**30

    monkeypatch.setattr(one_worker, "call_in_worker", measured)
    auto = Resources(gpus_per_trial="auto", concurrent=2)
    found = with_share_measured(auto, gpu_cluster, [SPEC], data, say=said.append)
    assert found == replace(auto, gpus_per_trial=0.3333)
    assert plan_resources(replace(found, concurrent=None, cpus_per_trial=0.1), gpu_cluster)[1] == 3
    assert asked == [({"cpu": 1, "gpu": 1}, "measured_memory")]
    assert said == ["gpus-per-trial auto: 0.3333 (one trial needs 3.0 of 10.0 GiB)"]
    assert share_for(3, 10) == 0.3333
    for given, nodes in ((HALF, gpu_cluster), (auto, [{"CPU": 2}])):
        found = with_share_measured(given, nodes, [SPEC], data, say=said.append)
        assert found.gpus_per_trial == (0.5 if given is HALF else 0)
    assert len(asked) == 1
