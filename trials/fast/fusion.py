"""Which layers of a network the kernels of `fused_layers` compute on a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor, nn

from search_spaces.networks.build import AnyNetwork, Network
from search_spaces.networks.gates import Gate
from search_spaces.networks.sites import norms_before, replace_module
from trials.training.recipe import Recipe

_AMPERE = (8, 0)


def fuse_on_gpu(network: AnyNetwork, recipe: Recipe) -> None:
    """Let own kernels compute what they compute faster than cuDNN, in place.

    Norms are fused with the ReLU or gate after them, in every precision. Convolutions change in
    tf32 and bf16 only. Networks of functions stay as they are, and so do all networks on a CPU, on
    a GPU older than NVIDIA's Ampere, and without Triton, which torch brings along on Linux. If
    Triton cannot compile, there is a warning. Names and weights of the `state_dict` do not change.

    Args:
        network: on its device, in channels_last, with gates or as a pack.
        recipe: with which it is trained.
    """
    if isinstance(network, Network) and has_kernels(next(network.parameters()).device):
        fuse_norms(network)
        if recipe.precision != "fp32":
            fuse_convolutions(network)


def has_kernels(device: torch.device) -> bool:
    """Whether the own kernels run on a device."""
    if (
        device.type != "cuda"
        or torch.version.hip is not None
        or torch.cuda.get_device_capability(device) < _AMPERE
        or find_spec("triton") is None
    ):
        return False
    from trials.fast.fused_layers import can_compile

    return can_compile(device)


def fuse_convolutions(network: Network) -> None:
    """Replace the convolutions for which cuDNN has no fast kernel.

    In a pack these are the first one, with three channels for each member, and those that change
    the number of channels: cuDNN computes each group by itself there. A single network has none,
    but its small convolutions take less time by the kernels here.
    """
    from trials.fast import fused_layers

    for path, module in list(network.named_modules()):
        if not isinstance(module, nn.Conv2d) or not fused_layers.can_compute(module):
            continue
        inside, outside = module.in_channels // module.groups, module.out_channels // module.groups
        if module.groups > 1 and inside < fused_layers.LEAST and module.stride == (1, 1):
            replace_module(network, path, fused_layers.PaddedConvolution(module))
        elif module.groups == 1 or inside != outside:
            replace_module(network, path, fused_layers.GroupedConvolution(module))


def fuse_norms(network: Network) -> None:
    """Replace every batch norm, together with the ReLU or gate after it."""
    from trials.fast.fused_layers import NormAndReLU

    gates = {norm: gate for gate, norm in norms_before(network).items() if norm is not None}
    for sequence in ("stem", "final"):
        names = [f"{sequence}.{name}" for name, _ in getattr(network, sequence).named_children()]
        gates |= dict(pairwise(names))
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            bits = torch.zeros(1, dtype=torch.uint8, device=module.weight.device)
            if path in gates:
                bits = _handed_over(network, gates[path], bits)
            replace_module(network, path, NormAndReLU(module, bits))


def _handed_over(network: Network, path: str, no_relu: Tensor) -> Tensor:
    """The bits of the ReLU or gate at a path, which then passes its input on."""
    gate = network.get_submodule(path)
    if isinstance(gate, nn.ReLU):
        replace_module(network, path, nn.Identity())
        return torch.ones_like(no_relu)
    if isinstance(gate, Gate) and isinstance(gate.activation, nn.ReLU):
        gate.is_applied = True
        return gate.bit.view(-1).view(torch.uint8)
    return no_relu
