"""Networks that are odd but can be searched, and networks that must be refused."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from helpers import odd_networks
from helpers.odd_networks import Functional, Looped, OneReluForAll, SharedRelu
from torch import Tensor, nn

from search_spaces import FunctionBackbone, InputError, Placement, build
from search_spaces.networks.gates import insert_gates, set_gates

SIZE = (12, 12)

SITES = {
    "SharedRelu": ["block1.relu#1", "block1.relu#2", "block2.relu#1", "block2.relu#2"],
    "OneReluForAll": ["first.1#1", "first.1#2", "first.1#3", "first.1#4", "first.1#5"],
    "Functional": ["relu()#1", "relu()#2", "relu()#3", "relu6()"],
    "Looped": [f"relus.{i}#{n}" for n in (1, 2) for i in range(3)],
    "Nested": ["body.0.1.1", "body.2.0.0.1"],
    "TwoHeads": ["body.1", "body.3"],
    "NeverCalled": ["relu"],
    "Gated": ["block1.relu1", "block1.relu2", "block2.relu1", "block2.relu2"],
}


def backbone(name: str, **options: str) -> FunctionBackbone:
    return FunctionBackbone(getattr(odd_networks, name), **options)


@pytest.mark.parametrize("name", SITES)
def test_an_odd_network_has_the_sites_of_its_forward_pass_and_is_proved(name):
    made = backbone(name)
    assert [site.name for site in made.sites] == SITES[name]
    made.prove(10, 3, SIZE)


REFUSED = {
    "MoreInTraining": "relu#?.* is called 2 times in training with 2 images, but 1 times",
    "DataDependent": "is called 3 times in evaluation with 2 images, but 2 times",
    "FixedBatch": "fails on batches of 2 and 3 images of 3x12x12 pixels: RuntimeError",
    "UsedAgain": "with every ReLU, .* differs .* in place",
    "Untraceable": "calls relu as a function, in code that torch.fx cannot trace",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_whose_sites_have_no_fixed_meaning_is_refused(name):
    with pytest.raises(InputError, match=REFUSED[name]):
        backbone(name).prove(10, 3, SIZE)


def test_a_network_without_a_site_is_refused_and_says_what_could_be_one():
    with pytest.raises(InputError, match=r"no site.*1 x silu is not in --sites"):
        backbone("Smooth")
    assert [site.name for site in backbone("Smooth", sites="silu").sites] == ["silu()"]


def test_both_forms_of_gelu_become_modules():
    made = backbone("Gelus", sites="gelu", exclude="none")
    made.prove(10, 3, SIZE)
    names = [site.name for site in made.sites]
    assert names == ["gelu()#1", "gelu()#2", "own.gelu()", "gelu()#3"]
    net, x = made.build(10, 3), torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    net.place(Placement("1001"))
    own = odd_networks.Gelus()
    own.load_state_dict(net.model.state_dict())
    y = own.stem(x)
    y = 0.5 * y * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (y + 0.044715 * y**3)))
    exact = y * torch.special.ndtr(y)
    torch.testing.assert_close(net(x), own.head(y - exact))


# Twins: the same networks written by hand, with a choice in place of each ReLU.


def relu_if(kept: bool, x: Tensor) -> Tensor:
    return x.clamp(min=0) if kept else x


def shared_by_hand(net: nn.Module, keeps: list[bool], x: Tensor) -> Tensor:
    x = net.stem(x).clamp(min=0)
    for i, block in enumerate((net.block1, net.block2)):
        y = relu_if(keeps[2 * i], block.conv1(x))
        x = relu_if(keeps[2 * i + 1], block.norm(block.conv2(y)) + x)
    return net.head(x)


def one_for_all_by_hand(net: nn.Module, keeps: list[bool], x: Tensor) -> Tensor:
    x = relu_if(keeps[0], net.stem(x))
    x = relu_if(keeps[1], net.first[0](x))
    x = relu_if(keeps[2], net.second[0](x))
    x = relu_if(keeps[3], net.second[0](x))
    return net.head(relu_if(keeps[4], x))


def functional_by_hand(net: nn.Module, keeps: list[bool], x: Tensor) -> Tensor:
    x = relu_if(keeps[0], net.stem(x))
    x = relu_if(keeps[1], net.conv1(x))
    x = net.drop(relu_if(keeps[2], net.conv2(x)))
    x = net.conv3(x)
    return net.head(x.clamp(0, 6) if keeps[3] else x)


def looped_by_hand(net: nn.Module, keeps: list[bool], x: Tensor) -> Tensor:
    x = net.stem(x)
    for call in range(6):
        x = x + relu_if(keeps[call], net.convs[call % 3](x))
    return net.head(x)


TWINS = {
    SharedRelu: shared_by_hand,
    OneReluForAll: one_for_all_by_hand,
    Functional: functional_by_hand,
    Looped: looped_by_hand,
}


def gradients(output: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    F.cross_entropy(output, torch.arange(len(output)) % 10).backward()
    return {
        name.removeprefix("model."): parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("kind", TWINS)
def test_outputs_and_gradients_are_those_of_a_twin_written_by_hand(kind, gated):
    made = FunctionBackbone(kind)
    rng = random.Random(0)
    network = build(made, generator=torch.Generator().manual_seed(1))
    twin = kind()
    twin.load_state_dict(network.state_dict())
    if gated:
        insert_gates(network)
    images = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    for _ in range(6):
        placement = Placement("".join(rng.choice("01") for _ in made.sites))
        set_gates(network, placement) if gated else network.place(placement)
        for training in (True, False):
            network.train(training), twin.train(training)
            torch.manual_seed(3)  # dropout
            found = network(images)
            torch.manual_seed(3)
            wanted = TWINS[kind](twin, list(placement), images)
            assert torch.equal(found, wanted)
            ours, theirs = gradients(found, network), gradients(wanted, twin)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
