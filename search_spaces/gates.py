"""The placement as data: a bit at every ReLU site, so that one graph serves all placements.

A network whose sites hold `nn.ReLU` or `nn.Identity` is the reference. A gated one computes the
same to the last bit, ties and infinities included, and all its placements have one compiled graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations import ACTIVATIONS
from search_spaces.backbones import GATED_ACTIVATIONS, Activation
from search_spaces.errors import InputError
from search_spaces.networks import Network
from search_spaces.placement import Placement
from search_spaces.sites import relu_sites, replace_module


class Gate(nn.Module):
    """where(bit, activation(x), x). The bit is a buffer that no `state_dict` holds."""

    bit: Tensor

    def __init__(self, activation: nn.Module, *, is_kept: bool) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("bit", torch.tensor(is_kept), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.bit, self.activation(x), x)


def insert_gates(model: Network) -> None:
    """Put a `Gate` at every site, in place; weights, shapes and `state_dict` stay as they are.

    Raises:
        InputError: the placement or the activation has shapes of its own.
    """
    placement, activation = model.placement, model.activation
    require_gates_fit(placement, activation)
    for site, is_kept in zip(relu_sites(model), placement, strict=True):
        gate = Gate(ACTIVATIONS[activation](), is_kept=is_kept)
        replace_module(model, site, gate)


def set_gates(model: Network, placement: Placement) -> None:
    """Another placement for a gated network."""
    for site, is_kept in zip(relu_sites(model), placement, strict=True):
        gate = model.get_submodule(site)
        assert isinstance(gate, Gate)
        gate.bit.fill_(is_kept)


def require_gates_fit(placement: Placement, activation: Activation) -> None:
    """Check that a network with this placement differs from its like in bits alone.

    Raises:
        InputError: it does not.
    """
    if activation not in GATED_ACTIVATIONS:
        raise InputError(
            f"activation {activation} has weights, draws or channels of its own, so placements "
            f"cannot share a graph; use {', '.join(GATED_ACTIVATIONS)}, or the eager back end"
        )
    if placement.dropped_norm == "drop":
        raise InputError(
            f"placement {placement.text[:60]!r} drops norms with its ReLUs, so it cannot share a "
            "graph with others; keep the norms, or use the eager back end"
        )
