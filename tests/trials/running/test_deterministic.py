"""Deterministic training: torch's settings hold throughout and come back; nothing else changes."""

from __future__ import annotations

import os

import pytest
import torch
from torch.nn import functional

from search_spaces import InputError
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.fast import stand_in
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import train_by_stand_in
from trials.training.loop import train
from trials.training.process import CUBLAS_SETTING, deterministic_algorithms
from trials.training.spec import untrained_network

RECIPE = Recipe(epochs=2, batch_size=32, schedule="one-cycle")
ON, OFF = (True, False, True, False), (False, False, False, False)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=100, validation_images=30)


def spec(backbone="plain-8", seed=0):
    placement = "4:3/type1" if backbone.startswith("dfn") else "2:1"
    return TrialSpec(backbone=backbone, width=4, placement=placement, recipe=RECIPE, seed=seed)


def settings():
    """Algorithms that repeat, a warning only, the same for cuDNN, choice by measurement."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


@pytest.fixture(autouse=True)
def defaults(monkeypatch):
    monkeypatch.setenv(CUBLAS_SETTING, ":4096:8")
    assert settings() == OFF
    yield
    torch.use_deterministic_algorithms(False)
    monkeypatch.undo()
    assert settings() == OFF
    assert torch.utils.deterministic.fill_uninitialized_memory
    stand_in._stand_in.cache_clear()


@pytest.fixture
def seen(monkeypatch):
    """The settings in each convolution, forward and backward."""
    found = []
    whole = functional.conv2d

    def watched(*arguments, **options):
        found.append(settings())
        out = whole(*arguments, **options)
        if out.requires_grad:
            out.register_hook(lambda _gradient: found.append(settings()))
        return out

    monkeypatch.setattr(functional, "conv2d", watched)
    return found


def test_the_settings_of_a_process_come_back_also_after_an_exception(monkeypatch):
    torch.use_deterministic_algorithms(True, warn_only=True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with deterministic_algorithms(True):
        assert settings() == ON
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert settings() == before == (True, True, False, True)
    with pytest.raises(KeyboardInterrupt), deterministic_algorithms(True):
        raise KeyboardInterrupt
    assert settings() == before


def test_without_the_option_nothing_is_set(monkeypatch):
    monkeypatch.delenv(CUBLAS_SETTING)
    with deterministic_algorithms(False):
        assert settings() == OFF
        assert CUBLAS_SETTING not in os.environ


@pytest.mark.parametrize(("given", "found"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_cublas_is_told_before_anything_is_computed(given, found, monkeypatch):
    if given is None:
        monkeypatch.delenv(CUBLAS_SETTING)
    else:
        monkeypatch.setenv(CUBLAS_SETTING, given)
    with deterministic_algorithms(True):
        assert os.environ[CUBLAS_SETTING] == found
    assert os.environ[CUBLAS_SETTING] == found  # torch reads it once in a process


def test_a_setting_with_which_cublas_does_not_repeat_is_refused(monkeypatch):
    monkeypatch.setenv(CUBLAS_SETTING, ":4096:2:16:8")
    refused = pytest.raises(InputError, match=r"':4096:2:16:8'.* needs :4096:8 or :16:8: unset it")
    with refused, deterministic_algorithms(True):
        pytest.fail("the block has begun")
    assert settings() == OFF


def results(result):
    return [{**m.to_json(), "seconds": 0} for m in result.epochs], result.model.state_dict()


@pytest.mark.parametrize("backbone", ["plain-8", "preresnet-8", "dfn-14"])
def test_a_trial_on_the_cpu_has_the_same_results(data, seen, backbone):
    metrics, weights = results(run_trial(spec(backbone), data, deterministic=True))
    assert set(seen) == {ON}
    seen.clear()
    others, other_weights = results(run_trial(spec(backbone), data))
    assert set(seen) == {OFF}
    assert metrics == others
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_a_pack_is_deterministic_too(data, seen):
    training = PackedTraining(data, deterministic=True)
    for number in range(2):
        training.join(number, spec(seed=number))
    training.epoch()
    assert set(seen) == {ON}


def test_a_record_of_other_algorithms_is_not_used(data):
    """A stand-in keeps the kernels that it recorded."""

    def train_one(*of_epoch):
        how = {"placement": spec().placement, "activation": "relu", "compiled": False}
        return train_by_stand_in(*of_epoch, **how, captured=True)

    for number, enabled in enumerate((False, True, True)):
        with deterministic_algorithms(enabled):
            list(train(untrained_network(spec(), data), data, RECIPE, seed=0, epoch_by=train_one))
        assert stand_in._stand_in.cache_info().misses == min(number + 1, 2)


def packed(data, captured):
    training = PackedTraining(data, "cuda", captured=captured, deterministic=True)
    for number in range(2):
        training.join(number, spec("preresnet-8", number))
    return [{**m.to_json(), "seconds": 0} for _ in range(2) for m in training.epoch().values()]


def alone(data, captured):
    one, stand_in_or_not = spec("preresnet-8"), {"captured": captured, "deterministic": True}
    return results(run_trial(one, data, device="cuda", **stand_in_or_not))[0]


@pytest.mark.cuda
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("train_all", [alone, packed])
def test_results_on_a_gpu_repeat_to_the_bit(data, train_all, captured):
    """No operation of a training lacks a deterministic form: torch would raise."""
    first = train_all(data, captured)
    stand_in._stand_in.cache_clear()
    assert train_all(data, captured) == first
