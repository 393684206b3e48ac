"""A gated network equals the reference network to the last bit, for every placement."""

from __future__ import annotations

import copy
import math
from typing import get_args

import pytest
import torch
from torch import nn

from search_spaces import (
    Activation,
    Backbone,
    InputError,
    Placement,
    build,
    relu_sites,
    resolve_placement,
)
from search_spaces.networks.activations import ACTIVATIONS
from search_spaces.networks.gates import Gate, insert_gates, require_gates_fit, set_gates

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
    """Outputs and gradients, also at both zeros and at infinities."""
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


UNGATEABLE = [
    (
        "preresnet-8",
        "pyramidnet",
        "placement .01\\*3@end-norm. adds a norm at the end of each",
    ),
    ("preresnet-bottleneck-11", "1*9@end-norm", "placement '1\\*9@end-norm' adds a norm"),
    ("preresnet-8", "01*3@end-norm@drop-norm", "drops norms with its ReLUs"),
    ("plain-8", "2:1@drop-norm", "drops norms with its ReLUs"),
]


@pytest.mark.parametrize(("backbone", "placement", "message"), UNGATEABLE)
def test_placements_with_other_norms_are_refused(backbone, placement, message):
    resolved = resolve_placement(Backbone.parse(backbone, 4), placement)
    with pytest.raises(InputError, match=f"{message}.*eager back end"):
        insert_gates(build(backbone, placement, width=4))
    with pytest.raises(InputError, match=f"{message}.*eager back end"):
        require_gates_fit(resolved, "relu")
    gated = build(backbone, width=4)
    insert_gates(gated)
    with pytest.raises(InputError, match=message):
        set_gates(gated, resolved)
    assert all(gated.get_submodule(site).bit for site in relu_sites(gated)), "left alone"


@pytest.mark.parametrize("activation", get_args(Activation))
def test_gated_activations_have_no_weights_no_draws_and_no_channels_of_their_own(activation):
    module = ACTIVATIONS[activation]().train()
    x = torch.randn(2, 4, 3, 3)
    once, again = module(x), module(x)
    if not module.state_dict() and once.shape == x.shape and torch.equal(once, again):
        require_gates_fit(Placement("10"), activation)
        insert_gates(build("preresnet-8", "2:1", width=4, activation=activation))
    else:
        with pytest.raises(InputError, match=f"activation {activation} has .*eager back end"):
            require_gates_fit(Placement("10"), activation)
        with pytest.raises(InputError, match=f"activation {activation} has .*eager back end"):
            insert_gates(build("preresnet-8", "2:1", width=4, activation=activation))
