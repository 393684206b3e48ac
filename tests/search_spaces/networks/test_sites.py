"""Sites of built networks: forward order, and placements set and read."""

import random

import pytest
import torch
from torch import nn

from search_spaces import Backbone, InputError, Placement, apply_placement, build, relu_sites
from search_spaces.networks.blocks import PreBottleneckBlock
from search_spaces.networks.sites import current_placement

SMALL = ["plain-9", "preplain-9", "resnet-12", "preresnet-12", "preresnet-bottleneck-17", "dfn-22"]


def some_placements(name, count=5):
    rng = random.Random(name)
    sites = len(Backbone.parse(name).sites)
    return [Placement("".join(rng.choices("01", k=sites))) for _ in range(count)]


@pytest.mark.parametrize("name", SMALL)
def test_sites_run_in_the_listed_order_between_stem_and_end(name):
    model = build(name, width=2)
    ran = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_, path=path: ran.append(path))
    model(torch.zeros(2, 3, 8, 8))
    stem, end = ([], ["final.1"]) if name.startswith("pre") else (["stem.2"], [])
    assert ran == [*stem, *relu_sites(model), *end]


def test_every_site_is_its_own_relu_and_never_in_place():
    for name in SMALL:
        model = build(name, width=2)
        relus = [model.get_submodule(site) for site in relu_sites(model)]
        assert all(type(relu) is nn.ReLU and not relu.inplace for relu in relus)
        assert len(set(relus)) == len(relus)


@pytest.mark.parametrize("name", SMALL)
def test_placements_are_read_back_and_touch_nothing_else(name):
    model = build(name, width=2)
    keys = list(model.state_dict())
    storage = [tensor.data_ptr() for tensor in model.state_dict().values()]
    before = {path: type(module) for path, module in model.named_modules()}
    for placement in some_placements(name):
        apply_placement(model, placement)
        assert current_placement(model) == model.placement == placement
        sites = relu_sites(model)
        assert sites == tuple(site.name for site in Backbone.parse(name).sites)
        after = {path: type(module) for path, module in model.named_modules()}
        dropped = {site for site, kept in zip(sites, placement, strict=True) if not kept}
        assert after == before | dict.fromkeys(dropped, nn.Identity)
        assert list(model.state_dict()) == keys
        assert [tensor.data_ptr() for tensor in model.state_dict().values()] == storage


@pytest.mark.parametrize("name", ["preplain-9", "dfn-22"])
def test_build_applies_the_placement(name):
    for placement in some_placements(name):
        assert build(name, placement, width=2).placement == placement
        assert build(name, placement.text, width=2).placement == placement


def test_sites_of_a_bare_block():
    assert relu_sites(PreBottleneckBlock(4, 1, 1)) == ("relu1", "relu2", "relu3")
    assert relu_sites(nn.Linear(1, 1)) == ()


@pytest.mark.parametrize("name", ["preresnet-12", "preresnet-bottleneck-17"])
def test_end_norm_comes_and_goes(name):
    model = build(name, width=2).double()
    placement = Placement("1" * len(Backbone.parse(name).sites), "end")
    plain_keys = set(model.state_dict())
    apply_placement(model, placement)
    assert model.placement == placement
    ends = [block.end_norm for block in model.blocks]
    assert all(type(end) is nn.BatchNorm2d and end.weight.dtype == torch.float64 for end in ends)
    apply_placement(model, placement)
    assert [block.end_norm for block in model.blocks] == ends, "a trained norm must stay"
    apply_placement(model, Placement(placement.bits))
    assert set(model.state_dict()) == plain_keys


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("block_norm", ["none", "end"])
def test_training_mode_survives_a_new_placement(mode, block_norm):
    model = build("preresnet-8", width=2).train(mode)
    apply_placement(model, Placement("010101", block_norm))
    assert {module.training for module in model.modules()} == {mode}


@pytest.mark.parametrize("name", ["resnet-12", "dfn-22"])
def test_wrong_number_of_bits_leaves_the_model_alone(name):
    model = build(name, width=2)
    paired = model.placement
    with pytest.raises(InputError, match=f"has 1 sites but the model has {len(paired)}"):
        apply_placement(model, Placement("0"))
    assert model.placement == paired


@pytest.mark.parametrize("name", ["plain-9", "preplain-9", "resnet-12", "dfn-22"])
def test_end_norm_needs_preactivation_residual_blocks(name):
    model = build(name, width=2)
    paired = model.placement
    with pytest.raises(InputError, match="needs pre-activation residual blocks"):
        apply_placement(model, Placement("0" * len(paired), "end"))
    assert model.placement == paired
