"""Gates: the placement as data, so that all placements of a backbone share one compiled graph.

A reference network holds `nn.ReLU` or `nn.Identity` at each site. A gated network holds a `Gate` at
each site and computes the same values to the last bit, for ties and infinities too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.backbones import GATED_ACTIVATIONS, Activation
from search_spaces.errors import InputError
from search_spaces.networks.build import AnyNetwork
from search_spaces.networks.sites import relu_sites, replace_module
from search_spaces.placement import END_NORM, Placement


class Gate(nn.Module):
    """where(bit, activation(x), x). The bit is a buffer that is not in the `state_dict`.

    Args:
        is_kept: the bit, or a tensor of several.

    Attributes:
        is_applied: whether the module before it applies it, so that x is passed on.
    """

    bit: Tensor
    is_applied = False

    def __init__(self, activation: nn.Module, *, is_kept: bool | Tensor) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("bit", torch.as_tensor(is_kept), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_applied:
            return x
        return torch.where(self.bit, self.activation(x), x)


def insert_gates(model: AnyNetwork) -> None:
    """Put a `Gate` at every site, in place; weights, shapes and `state_dict` do not change.

    Raises:
        InputError: as `require_gates_fit`, for the placement and activation of the model.
    """
    placement, activation = model.placement, model.activation
    require_gates_fit(placement, activation)
    sites = relu_sites(model)
    activations = list(map(model.new_activation, sites))  # read before a gate hides them
    for site, is_kept, module in zip(sites, placement, activations, strict=True):
        replace_module(model, site, Gate(module, is_kept=is_kept))


def set_gates(model: AnyNetwork, placement: Placement) -> None:
    """Set another placement in a gated network, in place.

    Raises:
        InputError: the placement needs other BatchNorms than the gated network has.
    """
    _require_all_norms_alike(placement)
    for site, is_kept in zip(relu_sites(model), placement, strict=True):
        gate = model.get_submodule(site)
        assert isinstance(gate, Gate)
        gate.bit.fill_(is_kept)


def require_gates_fit(placement: Placement, activation: Activation) -> None:
    """Check that the network has the modules and shapes of the paired one: only bits differ.

    Raises:
        InputError: the activation has weights, draws or channels of its own, or the placement
            drops norms or adds end norms.
    """
    if activation not in GATED_ACTIVATIONS:
        raise InputError(
            f"activation {activation} has weights, draws or channels of its own, so placements "
            f"cannot share a graph; use {', '.join(GATED_ACTIVATIONS)}, or the eager back end"
        )
    _require_all_norms_alike(placement)


def _require_all_norms_alike(placement: Placement) -> None:
    if placement.dropped_norm == "drop":
        raise InputError(
            f"placement {placement.text[:60]!r} drops norms with its ReLUs, so it cannot share a "
            "graph with others; keep the norms, or use the eager back end"
        )
    if placement.block_norm == "end":
        raise InputError(
            f"placement {placement.text[:60]!r} adds a norm at the end of each block, so it cannot "
            f"share a graph with others; leave out {END_NORM}, or use the eager back end"
        )
