"""The supernet: its switches are exact, and its scores are those of the placement."""

from __future__ import annotations

import copy

import pytest
import torch

from search_spaces import Backbone, Placement, build
from trials.data.splits import load_data
from trials.running.trial import run_trial
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
