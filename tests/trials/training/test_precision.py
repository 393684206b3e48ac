"""Precision: torch's settings hold in every convolution, forward and backward, and come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from search_spaces import InputError, Placement
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.data.held_out import load_test_split
from trials.fast import packing, stand_in
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import train_by_stand_in
from trials.training import loop
from trials.training.evaluation import score_on_test
from trials.training.process import in_precision
from trials.training.spec import untrained_network
from trials.training.supernet import Supernet

RECIPE = Recipe(epochs=2, batch_size=32)
SPEC = TrialSpec(backbone="plain-5", width=2, placement="paired", recipe=RECIPE)
STRICT, ROUNDED = ("ieee", "ieee"), ("tf32", "tf32")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=40, validation_images=20)


def newer():
    """Convolutions and matrix products on a GPU, by the newer settings."""
    return (
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    )


def older():
    """The same by the older settings; torch raises where they contradict the newer ones."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def everything():
    backends = torch.backends
    places = (backends, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn)
    places += (backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    return [place.fp32_precision for place in places], torch.get_float32_matmul_precision(), older()


@pytest.fixture(autouse=True)
def defaults():
    before = everything()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    torch.backends.mkldnn.conv.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"
    torch.backends.cuda.matmul.fp32_precision = "none"
    assert everything() == before


@pytest.fixture
def seen(monkeypatch):
    """The settings in each convolution, forward and backward."""
    found = {"forward": [], "backward": []}
    whole = functional.conv2d

    def watched(*arguments, **options):
        out = whole(*arguments, **options)
        found["forward"].append(newer())
        if out.requires_grad:
            out.register_hook(lambda _gradient: found["backward"].append(newer()))
        return out

    monkeypatch.setattr(functional, "conv2d", watched)
    return found


def trial(spec, data):
    assert run_trial(spec, data).failure is None


def by_stand_in(spec, data):
    how = {"placement": spec.placement, "activation": "relu", "compiled": False, "captured": True}

    def train_one(*of_epoch):
        return train_by_stand_in(*of_epoch, **how)

    try:
        list(loop.train(untrained_network(spec, data), data, RECIPE, seed=0, epoch_by=train_one))
    finally:
        stand_in._stand_in.cache_clear()


def pack(spec, data):
    training = PackedTraining(data)
    for number in range(2):
        training.join(number, spec)
    training.epoch()


def supernet(spec, data):
    net = Supernet.train(spec, data, lambda _rng: Placement("101"))
    net.score(Placement("110"))


def score(spec, data):
    test = load_test_split(data)
    score_on_test(untrained_network(spec, data), test, data, spec.recipe, "cpu")


@pytest.mark.parametrize("train", [trial, by_stand_in, pack, supernet, score])
def test_fp32_is_not_rounded_whatever_the_process_has(train, data, seen):
    torch.backends.cudnn.allow_tf32 = True  # the default
    torch.set_float32_matmul_precision("high")
    before = everything()
    train(SPEC, data)
    assert set(seen["forward"]) == {STRICT}
    assert set(seen["backward"]) == (set() if train is score else {STRICT})
    assert everything() == before


@pytest.mark.parametrize("train", [trial, pack, supernet, score])
def test_tf32_is_rounded_in_every_convolution(train, data, seen, monkeypatch):
    for module in (loop, packing):  # a pretended GPU
        monkeypatch.setattr(module, "require_precision", lambda recipe, device: None)
    before = everything()
    train(replace(SPEC, recipe=replace(RECIPE, precision="tf32")), data)
    assert set(seen["forward"]) == {ROUNDED}
    assert set(seen["backward"]) == (set() if train is score else {ROUNDED})
    assert everything() == before


def test_the_settings_are_those_of_the_caller_between_two_epochs(data):
    before = everything()
    epochs = loop.train(untrained_network(SPEC, data), data, RECIPE, seed=0)
    next(epochs)
    assert everything() == before
    epochs.close()


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("process", ["default", "high", "medium", "off", "newer"])
def test_older_and_newer_settings_agree_and_come_back(precision, process):
    """torch's compiler reads the older ones, and torch raises where both disagree."""
    if process in ("high", "medium"):
        torch.set_float32_matmul_precision(process)
    elif process == "off":
        torch.backends.cudnn.allow_tf32 = False
    elif process == "newer":
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    before = everything()
    with in_precision(replace(RECIPE, precision=precision)):
        rounded = precision == "tf32"
        assert newer() == (ROUNDED if rounded else STRICT)
        assert older() == (rounded, rounded)
        assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")
        assert torch.backends.mkldnn.conv.fp32_precision == "ieee"
    assert everything() == before


def test_the_settings_come_back_after_an_exception():
    before = everything()
    with pytest.raises(KeyboardInterrupt), in_precision(RECIPE):
        raise KeyboardInterrupt
    assert everything() == before


def test_settings_that_contradict_each_other_are_kept():
    """By the newer settings alone a process makes the older ones unreadable."""
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with in_precision(RECIPE):
        assert newer() == STRICT
        assert older() == (False, False)
    assert newer() == ("ieee", "tf32")
    assert torch.backends.cudnn.rnn.fp32_precision == "tf32"


def test_a_setting_of_all_backends_does_not_round_fp32():
    torch.backends.cudnn.allow_tf32 = False  # without a setting of its own from here on
    torch.backends.fp32_precision = "tf32"
    assert newer() == ROUNDED
    with in_precision(RECIPE):
        assert newer() == STRICT
    assert newer() == ROUNDED


def test_a_pack_refuses_a_precision_that_its_device_has_not(data):
    training = PackedTraining(data)
    with pytest.raises(InputError, match="tf32 needs a CUDA device; use fp32 on the CPU"):
        training.join(0, replace(SPEC, recipe=replace(RECIPE, precision="tf32")))
    assert not training.members


@pytest.mark.cuda
def test_fp32_convolutions_on_a_gpu_are_those_of_float64():
    """TensorFloat-32 has 10 bits after the point: errors of 1e-3 instead of 1e-6."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 64, 16, 16, generator=generator).cuda()
    weight = torch.randn(64, 64, 3, 3, generator=generator).cuda()
    exact = functional.conv2d(x.double(), weight.double(), padding=1)
    errors = {}
    for precision in ("fp32", "tf32"):
        with in_precision(replace(RECIPE, precision=precision)):
            found = functional.conv2d(x, weight, padding=1).double()
        errors[precision] = ((found - exact).std() / exact.std()).item()
    assert errors["fp32"] < 1e-5
    assert errors["tf32"] < 1e-2
    if torch.cuda.get_device_capability() >= (8, 0):
        assert errors["tf32"] > 1e-4
