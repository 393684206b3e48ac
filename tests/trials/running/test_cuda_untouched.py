"""A trial on the CPU touches no GPU, and a trial on a GPU touches no other one."""

from __future__ import annotations

import contextlib

import pytest
import torch

from search_spaces import Placement
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.fast.packing import PackedTraining
from trials.running.trial_files import TrialFiles
from trials.training.process import own_random_numbers
from trials.training.supernet import Supernet

RECIPE = Recipe(epochs=1, batch_size=32)
SPEC = TrialSpec(backbone="plain-5", width=2, placement="paired", recipe=RECIPE)
CALLS = ("_lazy_init", "_lazy_call", "current_device", "current_stream", "get_rng_state")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=64, validation_images=20)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, none of which may be initialised."""

    def refused(name):
        def call(*_arguments, **_options):
            raise AssertionError(f"torch.cuda.{name} was called")

        return call

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in CALLS:
        monkeypatch.setattr(torch.cuda, name, refused(name))
        if hasattr(torch.cuda.random, name):
            monkeypatch.setattr(torch.cuda.random, name, refused(name))


def trial(data, folder):
    files = TrialFiles(weights=folder, checkpoints=folder)
    files.make_folders()
    where = {"save_to": files.weights_of(0), "checkpoint": files.checkpoint_of(SPEC, data)}
    assert run_trial(SPEC, data, **where).failure is None
    assert len(run_trial(SPEC, data, **where).epochs) == 1  # from the checkpoint


def supernet(data, _folder):
    net = Supernet.train(SPEC, data, lambda _rng: Placement("101"))
    net.score(Placement("110"))


def pack(data, _folder):
    training = PackedTraining(data)
    for number in range(2):
        training.join(number, SPEC)
    training.epoch()


@pytest.mark.parametrize("train", [trial, supernet, pack])
def test_training_on_the_cpu_initialises_no_gpu(train, data, two_gpus, tmp_path):
    train(data, tmp_path)


class Gpus:
    """Random generators of four GPUs; the current one is the first."""

    def __init__(self):
        self.states = dict.fromkeys(range(4), "before")
        self.current, self.read = 0, []

    def index(self, device):
        return self.current if device.index is None else device.index

    def get_rng_state(self, device):
        self.read.append(self.index(device))
        return self.states[self.index(device)]

    def set_rng_state(self, state, device):
        self.states[self.index(device)] = state

    @contextlib.contextmanager
    def device(self, device):
        self.current, earlier = self.index(device), self.current
        yield
        self.current = earlier

    def manual_seed(self, seed):
        self.states[self.current] = seed


@pytest.mark.parametrize(("device", "own"), [("cpu", []), ("cuda", [0]), ("cuda:2", [2])])
def test_only_the_generator_of_the_own_gpu_is_seeded(device, own, monkeypatch):
    gpus = Gpus()
    for name in ("get_rng_state", "set_rng_state", "device", "manual_seed"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpus, name))
    torch.default_generator.manual_seed(7)
    cpu = torch.get_rng_state()
    with own_random_numbers(3, device):
        assert gpus.read == own
        assert gpus.states == {index: 3 if index in own else "before" for index in range(4)}
        drawn = torch.rand(2)
    assert torch.equal(drawn, torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), cpu)
    assert gpus.states == dict.fromkeys(range(4), "before")
