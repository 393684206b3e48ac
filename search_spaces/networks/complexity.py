"""Cost of a network: parameters, multiply-accumulates and ReLUs, counted on the built module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import nn
from torch.func import functional_call

from search_spaces.any_network.function_backbone import FunctionBackbone
from search_spaces.architecture import Architecture
from search_spaces.backbones import LARGEST_SIDE, SMALLEST_IMAGE, Activation, Backbone
from search_spaces.errors import InputError, require_type, shown
from search_spaces.networks.activations import ACTIVATIONS
from search_spaces.networks.build import Network
from search_spaces.networks.sites import apply_placement, relu_sites
from search_spaces.placement import Placement


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Cost of one forward pass of one image.

    Attributes:
        params: trainable parameters.
        macs: multiply-accumulates of convolutions and classifier.
        relu_layers: number of ReLUs (or other activations), stem and final one included.
        relu_elements: output values of all these ReLUs, stem and final one included. Private
            inference pays for each of them.
        site_elements: input values of each site, kept or dropped, in forward order.
    """

    params: int
    macs: int
    relu_layers: int
    relu_elements: int
    site_elements: tuple[int, ...]


def measure_complexity(
    backbone: Architecture,
    placement: Placement,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    activation: Activation = "relu",
) -> Complexity:
    """Build the network without memory for its weights, run it on an empty batch, and count.

    Convolutions and the classifier give only the shape of their output: torch would copy their
    weights, gigabytes in a wide network. A forward pass on the meta device would load the compiler
    of torch, which takes 2 s.

    Args:
        image_size: (height, width) in pixels.

    Raises:
        InputError: the image is too small or too large, or the placement does not fit the backbone.
    """
    require_type("backbone", backbone, Architecture, "a Backbone")
    backbone.check(placement)
    if isinstance(backbone, FunctionBackbone):
        return _of_function(backbone, placement, num_classes, in_channels, image_size)
    assert isinstance(backbone, Backbone)
    if min(image_size) < SMALLEST_IMAGE or max(image_size) > LARGEST_SIDE:
        raise InputError(
            f"images are {shown(image_size[0])}x{shown(image_size[1])} pixels; three stages need "
            f"at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE}, and a side has at most {LARGEST_SIDE}"
        )
    return _measure(
        backbone,
        placement,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        activation=activation,
    )


def _of_function(
    backbone: FunctionBackbone,
    placement: Placement,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
) -> Complexity:
    """Of a network whose dry run is known: a dropped site is one ReLU less, nothing else changes.

    The ReLUs are the activations of the kinds that sites have, those that are no sites included.
    """
    found = backbone.measured(num_classes, in_channels, image_size)
    sites = tuple(found.elements[i] for i in backbone.layout.sites)
    relus = [
        elements
        for place, elements in zip(backbone.layout.places, found.elements, strict=True)
        if place.kind in backbone.choice.kind_list
    ]
    dropped = [elements for elements, kept in zip(sites, placement, strict=True) if not kept]
    return Complexity(
        params=found.params,
        macs=found.macs,
        relu_layers=len(relus) - len(dropped),
        relu_elements=sum(relus) - sum(dropped),
        site_elements=sites,
    )


@lru_cache(maxsize=1024)
def _measure(
    backbone: Backbone,
    placement: Placement,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    activation: Activation,
) -> Complexity:
    with torch.device("meta"):
        model = Network(backbone, num_classes, in_channels).eval()
        apply_placement(model, placement, activation)
    entering: dict[nn.Module, int] = {}
    leaving: dict[nn.Module, int] = {}

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        entering[module], leaving[module] = (_values(x) for x in (inputs[0], output))

    macs: list[int] = []

    def count_macs(
        module: nn.Conv2d | nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor
    ) -> None:
        macs.append(_values(output) * module.weight[0].numel())

    sites = [model.get_submodule(name) for name in relu_sites(model)]
    activations = tuple(ACTIVATIONS.values())
    relus = [module for module in model.modules() if isinstance(module, activations)]
    for module in dict.fromkeys([*sites, *relus]):
        module.register_forward_hook(count)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.forward = partial(_shape_only, module)  # type: ignore[method-assign]
            module.register_forward_hook(count_macs)
    zeros = {name: torch.zeros(()).expand(t.shape) for name, t in model.state_dict().items()}
    with torch.no_grad():
        functional_call(model, zeros, (torch.empty(0, in_channels, *image_size),))
    return Complexity(
        params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=sum(macs),
        relu_layers=len(relus),
        relu_elements=sum(leaving[module] for module in relus),
        site_elements=tuple(entering[module] for module in sites),
    )


def _shape_only(module: nn.Conv2d | nn.Linear, batch: torch.Tensor) -> torch.Tensor:
    """An empty batch of the shape that the module gives."""
    if isinstance(module, nn.Linear):
        return batch.new_empty(0, module.out_features)
    assert isinstance(module.padding, tuple)
    size = (
        (side + 2 * pad - kernel) // stride + 1
        for side, pad, kernel, stride in zip(
            batch.shape[2:], module.padding, module.kernel_size, module.stride, strict=True
        )
    )
    return batch.new_empty(0, module.out_channels, *size)


def _values(batch: torch.Tensor) -> int:
    """Number of values per image."""
    return batch.shape[1:].numel()
