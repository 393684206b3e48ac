"""Sites, blocks, stages, ratio and modules of networks beyond the six families."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
import torchvision
from helpers import odd_networks
from torch import nn

from search_spaces import (
    FunctionBackbone,
    InputError,
    Placement,
    SearchSpace,
    backbone_from_json,
    build,
    measure_complexity,
    module_names,
    module_placement,
    ratio_text,
    reference_modules,
)


@pytest.fixture(scope="module")
def resnet18():
    return FunctionBackbone("torchvision:resnet18")


def test_resnet18_has_the_sites_blocks_and_stages_of_its_paper(resnet18):
    paths = [f"layer{i}.{j}.relu#{k}" for i in range(1, 5) for j in range(2) for k in (1, 2)]
    assert [site.name for site in resnet18.sites] == paths
    assert resnet18.blocks_per_stage == (2, 2, 2, 2)
    assert [site.stage for site in resnet18.sites] == [i for i in range(4) for _ in range(4)]
    # 15 convolutions of blocks after the first ReLU, and the 3 of the shortcuts
    assert resnet18.convs == 18
    assert [(p.path, p.out) for p in resnet18.layout.places if p.out] == [("relu", "stem")]


def test_resnet18_has_the_modules_of_blocks_with_two_relus(resnet18):
    assert module_names(resnet18) == ("paired", "2:1/first", "2:1/second", "linear")
    assert module_placement(resnet18, "2:1").bits == "01" * 8
    assert module_placement(resnet18, "2:1/second").bits == "10" * 8
    assert module_placement(resnet18, "eraserelu:0.5").bits == "1110" * 4
    assert ratio_text(resnet18, module_placement(resnet18, "2:1")) == "9:4"
    assert list(reference_modules(resnet18)) == ["paired", "2:1/first", "2:1/second", "linear"]
    with pytest.raises(InputError, match="any N:M with 2 >= N"):
        module_placement(resnet18, "3:2")


def test_bottlenecks_have_three_types():
    made = FunctionBackbone("torchvision:resnet50")
    assert module_names(made)[1:4] == ("3:2/type1", "3:2/type2", "3:2/type3")
    assert module_placement(made, "3:2").bits == "011" * 16
    assert module_placement(made, "2:1").bits == "010" * 16  # an incomplete group, as in plain nets


def test_a_network_without_blocks_counts_through_all_sites():
    made = FunctionBackbone(odd_networks.Flat)
    assert (len(made.sites), made.convs) == (10, 9)
    assert not made.layout.has_blocks
    assert module_placement(made, "2:1").bits == "01" * 5
    assert module_placement(made, "5:2").bits == "00011" * 2
    assert [site.block for site in made.sites] == [i // 2 for i in range(10)]


def test_parameters_and_macs_are_those_counted_by_hand(resnet18):
    cost = measure_complexity(resnet18, Placement("1" * 16), num_classes=7, image_size=(64, 64))
    model = torchvision.models.resnet18(num_classes=7)
    assert cost.params == sum(p.numel() for p in model.parameters())
    macs = 0

    def count(module, _inputs, output):
        nonlocal macs
        macs += output[0].numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model.eval()(torch.zeros(1, 3, 64, 64))
    assert cost.macs == macs
    sizes = [64 * 16 * 16] * 4 + [128 * 8 * 8] * 4 + [256 * 4 * 4] * 4 + [512 * 2 * 2] * 4
    assert cost.site_elements == tuple(sizes)
    assert cost.relu_elements == sum(sizes) + 64 * 32 * 32
    half = measure_complexity(resnet18, Placement("01" * 8), num_classes=7, image_size=(64, 64))
    assert half.relu_elements == sum(sizes) // 2 + 64 * 32 * 32
    assert (half.relu_layers, cost.relu_layers) == (9, 17)


def test_the_space_of_each_granularity_is_the_product_of_its_units(resnet18):
    assert SearchSpace(resnet18, "site").size == 2**16 - 1
    assert SearchSpace(resnet18, "block").size == 4**8 - 1
    assert SearchSpace(resnet18, "stage").size == 4**4 - 1
    assert SearchSpace(resnet18, "network").size == 3


def test_gates_and_stem_are_left_out_unless_asked_for():
    every = FunctionBackbone(odd_networks.Gated, exclude="none")
    assert [site.name for site in every.sites] == [
        "act",
        *("block1.relu1", "block1.se.2", "block1.relu2"),
        *("block2.relu1", "block2.se.2", "block2.relu2"),
    ]
    some = FunctionBackbone(odd_networks.Gated, exclude="block2.*")
    assert [site.name for site in some.sites] == ["act", "block1.relu1", "block1.relu2"]
    reasons = {place.path: place.out for place in some.layout.places}
    assert reasons["block1.se.2"] == "squeeze-and-excitation gate"
    assert reasons["block2.relu1"] == "--exclude block2.*"


def test_a_relu_that_is_never_called_is_named():
    assert FunctionBackbone(odd_networks.NeverCalled).layout.not_called == ("unused",)


def test_arguments_reach_the_function_and_sizes_of_data_too():
    made = FunctionBackbone("torchvision:mobilenet_v2", arguments={"width_mult": 0.5})
    network = build(made, num_classes=4)
    assert network.model.classifier[1].out_features == 4
    assert network.model.features[1].conv[0][0].out_channels == 16


def test_equal_seeds_give_equal_weights_to_all_placements(resnet18):
    paired, half = (
        build(resnet18, text, generator=torch.Generator().manual_seed(5)).state_dict()
        for text in ("paired", "2:1")
    )
    assert paired.keys() == torchvision.models.resnet18(num_classes=10).state_dict().keys()
    assert all(torch.equal(paired[name], half[name]) for name in paired)
    other = build(resnet18, generator=torch.Generator().manual_seed(6)).state_dict()
    assert not torch.equal(paired["conv1.weight"], other["conv1.weight"])


def test_copies_and_pickles_are_the_same_network_and_independent():
    network = build(FunctionBackbone(odd_networks.SharedRelu), "2:1").eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = network(images)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.placement == network.placement
        assert torch.equal(twin(images), wanted)
        twin.place(Placement("1111"))
        assert network.placement.bits == "0101"


def test_json_has_all_that_is_known_and_stays_silent(resnet18):
    value = json.loads(json.dumps(resnet18.to_json()))
    again = backbone_from_json(value, may_run=False)
    assert again == resnet18
    assert again.sites == resnet18.sites
    assert build(again, "2:1").placement.bits == "01" * 8


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("places", [["relu", False, "relu", "", 0, 1, 0]]),  # no block 0
        ("places", [["relu", False, "relu", "", 0, 0]]),
        ("places", []),
        ("convs", -1),
        ("not_called", [1]),
    ],
)
def test_a_damaged_layout_is_refused(resnet18, key, value):
    entries = resnet18.to_json()
    entries["network"]["layout"][key] = value
    with pytest.raises(InputError, match="damaged"):
        backbone_from_json(entries, may_run=False)


def test_a_layout_of_another_network_is_refused(resnet18):
    entries = resnet18.to_json()
    entries["network"]["source"]["function"] = "squeezenet1_1"
    with pytest.raises(InputError, match="is not the network that was recorded"):
        build(backbone_from_json(entries, may_run=False))


def test_norms_and_other_activations_stay_with_the_families(resnet18):
    with pytest.raises(InputError, match="keeps its norms"):
        SearchSpace(resnet18, norm="search")
    with pytest.raises(InputError, match="keeps its norms"):
        build(resnet18, "2:1@drop-norm")
    with pytest.raises(InputError, match="keeps its own activations"):
        build(resnet18, activation="elu")
