"""A gated network is the structural one, to the last bit, whatever its placement."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from search_spaces import InputError, Placement, build, relu_sites
from search_spaces.gates import Gate, insert_gates, set_gates

BACKBONES = (
    "plain-8",
    "preplain-8",
    "resnet-8",
    "preresnet-8",
    "preresnet-bottleneck-11",
    "dfn-14",
)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_gate_equals_its_activation_or_the_identity_everywhere(activation, is_kept):
    """Outputs and gradients, at zeros of both signs, infinities and ties too."""
    module = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU}[activation]()
    values = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, 1e-45, -1e-45, 3.4e38, -3.4e38]
    x = torch.tensor(values, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    ours = Gate(module, is_kept=is_kept)(x)
    theirs = module(y) if is_kept else y * 1
    assert torch.equal(ours, theirs)
    ours.backward(torch.ones_like(x))
    theirs.backward(torch.ones_like(y))
    assert torch.equal(x.grad, y.grad)
    assert Gate(module, is_kept=is_kept)(torch.tensor(math.nan)).isnan()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_gated_network_trains_as_the_structural_one_to_the_bit(backbone):
    generator = torch.Generator().manual_seed(0)
    model = build(backbone, "paired", width=4, generator=generator)
    sites = len(relu_sites(model))
    for bits in ("1" * sites, "0" * sites, ("100" * sites)[:sites]):
        structural = build(backbone, bits, width=4, generator=torch.Generator().manual_seed(1))
        gated = copy.deepcopy(structural)
        insert_gates(gated)
        assert gated.state_dict().keys() == structural.state_dict().keys()
        x = torch.randn(8, 3, 8, 8, generator=generator)
        outputs = []
        for network in (structural, gated):
            logits = network.train()(x)
            logits.square().sum().backward()
            outputs.append((logits, *(p.grad for p in network.parameters()), network.eval()(x)))
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_gates_take_on_another_placement():
    gated, other = (build("plain-8", p, width=4) for p in ("paired", "010101"))
    other.load_state_dict(gated.state_dict())
    insert_gates(gated)
    set_gates(gated, Placement("010101"))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(gated(x), other(x))


@pytest.mark.parametrize(("placement", "activation"), [("2:1", "prelu"), ("2:1@drop-norm", "relu")])
def test_networks_with_shapes_of_their_own_are_refused(placement, activation):
    with pytest.raises(InputError, match="eager back end"):
        insert_gates(build("plain-8", placement, width=4, activation=activation))
