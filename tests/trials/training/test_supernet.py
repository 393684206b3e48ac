"""The supernet: its switches are exact, and its scores are those of the placement."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from search_spaces import Backbone, Placement, build
from trials.data.augmentation import EpochDraws, crop_and_flip
from trials.data.splits import load_data
from trials.running.trial import run_trial
from trials.training import supernet
from trials.training.loop import RECALIBRATION_BATCHES, DeviceData
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec
from trials.training.supernet import Supernet, rank


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=200, validation_images=100)


@pytest.fixture(scope="module", params=["plain-8", "preresnet-8", "dfn-14"])
def net(request, data):
    spec = TrialSpec(
        backbone=request.param,
        width=4,
        placement="paired",
        recipe=Recipe(epochs=2, batch_size=50, learning_rate=0.05),
    )
    sites = len(Backbone.parse(request.param).sites)
    return Supernet.train(
        spec, data, lambda rng: Placement("".join(rng.choice("01") for _ in range(sites)))
    )


def _paired(backbone):
    return lambda rng: Placement("1" * len(Backbone.parse(backbone).sites))


def structural(net, placement):
    """The network built for the placement, with the supernet's weights."""
    model = build(
        net.spec.backbone,
        placement,
        num_classes=net.data.num_classes,
        in_channels=net.data.in_channels,
    )
    shared = {name.replace(".relu.", "."): v for name, v in net.model.state_dict().items()}
    model.load_state_dict(shared)
    return model.eval()


def test_a_switched_network_is_the_built_one_bit_for_bit(net):
    images = torch.randn(3, net.data.in_channels, *net.data.image_size)
    images = images.to(memory_format=torch.channels_last)
    for pattern in ("0", "1", "001"):
        placement = Placement((pattern * 20)[: len(net.switches)])
        net.score(placement)
        built = structural(net, placement).to(memory_format=torch.channels_last)
        with torch.no_grad():
            assert torch.equal(net.model(images), built(images))


def test_scores_repeat_and_do_not_touch_the_weights(net):
    before = copy.deepcopy([p.detach() for p in net.model.parameters()])
    placements = [Placement(b * len(net.switches)) for b in "01"]
    first = rank(net, placements)
    assert rank(net, placements[::-1]) == first
    assert first[0][1] <= first[1][1]
    assert all(torch.equal(a, b) for a, b in zip(before, net.model.parameters(), strict=True))


def test_training_only_the_paired_placement_is_ordinary_training(data):
    """With one placement for all steps the supernet is the network of a trial, weight by weight."""
    spec = TrialSpec(
        backbone="plain-8", width=4, placement="paired", recipe=Recipe(epochs=2, batch_size=50)
    )
    net = Supernet.train(spec, data, _paired("plain-8"))
    trained = run_trial(spec, data).model
    ours = dict(net.model.named_parameters())
    for name, weight in trained.named_parameters():
        assert torch.equal(weight, ours[name])


def test_512_scores_upload_the_data_once(data, pinned, monkeypatch):
    """By two supernets. Nothing is computed, as `meta` is slow and has no numbers."""
    monkeypatch.setattr(supernet, "evaluate", lambda *_: (0.5, 0.5))
    monkeypatch.setattr(DeviceData, "batch", lambda *_: (torch.zeros(1, device="meta"), None))
    spec = TrialSpec(
        backbone="plain-5", placement="paired", recipe=Recipe(epochs=1, batch_size=200)
    )
    nets = [Supernet(nn.PReLU(device="meta"), (), spec, data) for _ in range(2)]
    for net in nets:
        for _ in range(256):
            net.score([])
    images = [data.train.images.shape, data.validation.images.shape]
    assert [pinned.count(shape) for shape in images] == [1, 1]
    assert len(pinned) == 6 + 2 * 4  # both splits with labels; mean and std; draws of each net


@pytest.mark.parametrize("batch_size", [10, 150, 300])
def test_statistics_are_those_of_the_first_batches(data, batch_size):
    """With 20, 2 and 1 batches in an epoch."""
    spec = TrialSpec(
        backbone="plain-5",
        width=2,
        placement="paired",
        recipe=Recipe(epochs=1, batch_size=batch_size),
    )
    net = Supernet.train(spec, data, _paired("plain-5"))
    net.score(spec.placement)
    draws = EpochDraws.draw(200, pad=data.pad, flip=data.flip, seed=spec.seed, epoch=1)
    images = torch.from_numpy(data.train.images)
    cropped = crop_and_flip(images, draws, *data.image_size).permute(0, 3, 1, 2).double()
    cropped = (cropped - data.mean[0]) / data.std[0]
    batches = cropped.split(batch_size)[:RECALIBRATION_BATCHES]
    conv, norm = (
        next(m for m in net.model.modules() if isinstance(m, kind))
        for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    with torch.no_grad():
        after = [
            nn.functional.conv2d(x, conv.weight.double(), stride=conv.stride, padding=conv.padding)
            for x in batches
        ]
    expected = torch.stack([x.mean((0, 2, 3)) for x in after]).mean(0)
    torch.testing.assert_close(norm.running_mean.double(), expected, rtol=1e-4, atol=1e-5)
