"""Facts of a placement, against the network that it builds."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.exporting import (
    NETWORKS,
    images,
    initial_network,
)
from helpers.odd_networks import SharedRelu

from relu_search.analysis.placement_facts import PlacementFacts, describe
from search_spaces import FunctionBackbone, InputError


@pytest.mark.parametrize("placement", ["paired", "2:1/first", "10*4"])
def test_describe_counts_what_the_built_network_has(placement):
    backbone = "resnet-8" if placement != "10*4" else "plain-10"
    facts = describe(backbone, placement, num_classes=7, image_size=8, width=4, in_channels=1)
    model = initial_network(backbone, placement)
    elements: list[int] = []
    relus = [m for m in model.modules() if isinstance(m, torch.nn.ReLU)]
    for relu in relus:
        relu.register_forward_hook(lambda _m, _x, y: elements.append(y[0].numel()))
    model(images()[:1])
    assert facts["params"] == sum(p.numel() for p in model.parameters())
    assert facts["relu_layers"] == len(relus) == facts["relus"] + 1  # the stem's
    assert facts["relu_elements"] == sum(elements)
    kept = [site for site in facts["sites"] if site["kept"]]
    assert len(kept) == facts["relus"]
    modules = dict(model.named_modules())
    assert all(isinstance(modules[site["name"]], torch.nn.ReLU) for site in kept)


@pytest.mark.parametrize(("backbone", "placement"), NETWORKS)
def test_describe_has_the_keys_of_the_contract(backbone, placement):
    facts = describe(backbone, placement)
    keys = {"backbone", "placement", "ratio", "convs", "relus", "relu_elements", "params", "macs"}
    assert keys | {"sites"} <= set(facts)
    assert json.loads(json.dumps(facts)) == facts
    assert [s["stage"] for s in facts["sites"]] == sorted(s["stage"] for s in facts["sites"])
    assert facts["module"] == ("2:1" if placement == "01*3" else placement)


@pytest.mark.parametrize(
    ("image_size", "images", "fails"),
    [(1, 65, True), (1, 64, False), (1, 66, False), (2, 65, False)],
    ids=["one image, maps of 1x1", "whole batches", "two images", "one image, maps of 2x2"],
)
def test_a_last_batch_on_which_batch_norm_fails_is_refused(image_size, images, fails):
    """In batches of 32. Torch itself is the judge of what it can train."""
    network = SharedRelu(in_channels=1).train()  # its maps are as large as its images
    last = torch.zeros(images % 32 or 32, 1, image_size, image_size)
    facts = PlacementFacts(
        backbone=FunctionBackbone(SharedRelu, arguments={"in_channels": 1}),
        num_classes=10,
        in_channels=1,
        image_size=(image_size, image_size),
    )
    if fails:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network(last)
        with pytest.raises(InputError, match=r"65 .* batches of 32 leave 1 image .* --batch-size"):
            facts.require_trainable(images, 32)
    else:
        network(last)
        facts.require_trainable(images, 32)
