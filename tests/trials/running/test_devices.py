"""The device of a training by plan, the memory it needs, and what a process frees."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers.full_gpu import FULL

from search_spaces import InputError
from trials.data.splits import load_data
from trials.fast import stand_in
from trials.fast.stand_in import train_by_stand_in
from trials.running.devices import (
    CONTEXT_BYTES,
    MOST_PER_GPU,
    SIZES,
    local_device,
    measured_memory,
    measured_needs,
    measured_rates,
    share_for,
)
from trials.running.resources import Resources, plan_resources
from trials.running.trial_list import TrialList, run_in_process
from trials.training.loop import train
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec, untrained_network

SPEC = TrialSpec(
    backbone="plain-5", width=2, placement="010", recipe=Recipe(epochs=1, batch_size=8)
)
GIB = 2**30


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=301, validation_images=20)


@pytest.mark.parametrize(
    ("gpus_per_trial", "sees_gpu", "device"),
    [
        (None, True, "cuda"),
        (None, False, "cpu"),
        (0, True, "cpu"),
        (0.25, True, "cuda"),
        (1, False, "cpu"),
        ("auto", True, "cuda"),
    ],
)
def test_a_training_in_this_process_uses_a_gpu_only_if_the_plan_gives_it_one(
    gpus_per_trial, sees_gpu, device, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees_gpu)
    assert local_device(gpus_per_trial) == device


@pytest.mark.parametrize("needed", [1, 7, 10, 11, 13, 17, 20, 34, 50, 51, 100, 130])
def test_as_many_trainings_share_a_gpu_as_fit_into_its_memory(needed):
    share = share_for(needed, 100)
    _, at_once = plan_resources(
        Resources(cpus_per_trial=1, gpus_per_trial=share), [{"CPU": 64, "GPU": 1}]
    )
    by_hand = [n for n in range(1, MOST_PER_GPU + 1) if n * needed <= 100]
    assert at_once == max(by_hand, default=1)


class Counters:
    """Torch's counters of a GPU, without one."""

    def __init__(self, monkeypatch, reserved, total):
        self.reserved = self.since_start = reserved
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.reset)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: self.reserved)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=total)
        )

    def reset(self):
        self.since_start = 0


@pytest.mark.parametrize(
    ("trials", "images"), [(1, 16 * 8 + 301 % 8), (3, 16 * 8 + 301 % 8)], ids=["trial", "pack"]
)
def test_the_need_is_the_peak_the_images_left_out_and_an_allowance(
    trials, images, data, monkeypatch
):
    counters = Counters(monkeypatch, 3 * GIB, 16 * GIB)
    found = measured_memory([SPEC] * trials, data, False, False, device="cpu", say=print)
    bytes_of_one = data.train.images[0].size
    left_out = (301 - images) * bytes_of_one
    assert found == (3 * GIB + left_out + CONTEXT_BYTES, 16 * GIB)
    assert counters.since_start == 0, "an earlier peak counted"


def test_a_training_that_no_gpu_can_hold_is_refused_in_a_line(data, monkeypatch):
    Counters(monkeypatch, 0, 0)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("trials.running.devices.run_trial", full)
    with pytest.raises(InputError, match=r"^out of GPU memory: CUDA .*alone on the card; lower"):
        measured_memory([SPEC], data, False, False, device="cuda", say=print)


@pytest.mark.parametrize("error", FULL)
def test_the_largest_pack_is_the_last_that_fits(error, data, monkeypatch):
    def seconds(specs, *_):
        if len(specs) == 8:
            raise error
        return [9.0, 0.001]

    monkeypatch.setattr("trials.running.devices._epochs_of_pack", seconds)
    assert measured_rates([SPEC] * max(SIZES), data).keys() == {1, 2, 4}


@pytest.mark.parametrize("error", FULL)
def test_if_not_even_one_training_fits_no_pack_is_measured(error, data, monkeypatch):
    def full(*_, **__):
        raise error
        yield

    monkeypatch.setattr("trials.running.devices.train", full)
    with pytest.raises(InputError, match=r"^out of GPU memory: .* alone on the card; lower"):
        measured_rates([SPEC] * max(SIZES), data)


def test_another_error_of_a_pack_is_raised(data, monkeypatch):
    def seconds(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("trials.running.devices._epochs_of_pack", seconds)
    with pytest.raises(RuntimeError, match="shapes differ"):
        measured_rates([SPEC] * max(SIZES), data)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("trials", [1, 2])
def test_the_needs_are_measured_with_the_algorithms_of_the_search(
    deterministic, trials, data, monkeypatch
):
    found = []
    forward = torch.nn.Conv2d.forward

    def noted(layer, images):
        found.append(torch.are_deterministic_algorithms_enabled())
        return forward(layer, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", noted)
    needs = measured_needs(
        [SPEC] * trials, data, False, False, deterministic, device="cpu", say=print
    )
    assert needs.epoch_seconds > 0
    assert set(found) == {deterministic}


def test_in_this_process_a_full_gpu_fails_one_trial_and_nothing_is_kept(data, monkeypatch):
    """Trained by stand-in, as with recorded steps; the process keeps one from trial to trial."""
    freed, kept = [], []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(held()))

    def held():
        return stand_in._stand_in.cache_info().currsize

    def runner(spec, data, *, on_epoch, **_):
        if spec.seed == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        by_stand_in = partial(
            train_by_stand_in,
            placement=spec.placement,
            activation=spec.activation,
            compiled=False,
            captured=False,
        )
        model = untrained_network(spec, data)
        for metrics in train(model, data, spec.recipe, seed=spec.seed, epoch_by=by_stand_in):
            on_epoch(metrics)
        kept.append(held())
        return SimpleNamespace(failure=None)

    ends = {}
    trials = TrialList(
        [replace(SPEC, seed=seed) for seed in range(3)],
        ended=lambda number, epochs, failure: ends.update({number: (len(epochs), failure)}),
    )
    run_in_process(trials, data, runner=runner)
    reason = "out of GPU memory: CUDA out of memory, alone on the card; lower --width or the batch"
    assert ends == {0: (1, None), 1: (0, f"{reason} size"), 2: (1, None)}
    assert kept == [1, 1]
    assert freed == [0, 0], "after the full GPU and at the end"
