"""Build a backbone with a placement as an `nn.Module`."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn

from search_spaces.any_network.function_backbone import FunctionBackbone
from search_spaces.any_network.function_network import FunctionNetwork
from search_spaces.architecture import Architecture
from search_spaces.backbone_names import parse_backbone
from search_spaces.backbones import Activation, Backbone
from search_spaces.errors import InputError, shown
from search_spaces.named_placements import resolve_placement
from search_spaces.networks.activations import ACTIVATIONS
from search_spaces.networks.blocks import (
    BasicBlock,
    Fork,
    MergeRunBlock,
    MergeRunLastBlock,
    PlainBlock,
    PreBasicBlock,
    PreBottleneckBlock,
    PrePlainBlock,
    batch_norm,
    conv3x3,
)
from search_spaces.networks.sites import apply_placement, current_activation, current_placement
from search_spaces.placement import Placement

BLOCKS: dict[str, type[nn.Module]] = {
    "plain": PlainBlock,
    "preplain": PrePlainBlock,
    "resnet": BasicBlock,
    "preresnet": PreBasicBlock,
    "preresnet-bottleneck": PreBottleneckBlock,
    "dfn": MergeRunBlock,
}
MAX_CLASSES = 100_000


class Network(nn.Module):
    """stem - blocks - final BN-ReLU (pre-activation only) - global average pool - classifier.

    Input (N, in_channels, H, W) float; output (N, num_classes) logits.
    Source: the paper's Section IV and arXiv:1611.07718, Table 1.

    Attributes:
        backbone: the backbone of this network.
        num_classes, in_channels: number of classes, and of channels of the images.
    """

    def __init__(self, backbone: Backbone, num_classes: int, in_channels: int) -> None:
        super().__init__()
        if type(num_classes) is not int or not 2 <= num_classes <= MAX_CLASSES:
            raise InputError(f"num_classes is {shown(num_classes)}; use 2 to {MAX_CLASSES}")
        if type(in_channels) is not int or in_channels not in (1, 3):
            raise InputError(f"in_channels is {shown(in_channels)}; use 1 (grey) or 3 (colour)")
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.stem = _stem(backbone, in_channels)
        self.blocks = nn.Sequential(*_blocks(backbone))
        channels = _channels_out(backbone, stage=2)
        self.final = nn.Sequential()
        if backbone.spec.preactivation:
            self.final = nn.Sequential(batch_norm(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)

    @property
    def placement(self) -> Placement:
        """The current placement, read from the modules."""
        return current_placement(self)

    @property
    def activation(self) -> Activation:
        """The activation of the kept sites, read from the modules."""
        return current_activation(self)

    def new_activation(self, site: str) -> nn.Module:
        """A module for a site that is kept."""
        return ACTIVATIONS[self.activation]()

    def forward(self, x: Tensor) -> Tensor:
        features = self.final(self.blocks(self.stem(x)))
        return self.classifier(features.mean((2, 3)))


AnyNetwork: TypeAlias = Network | FunctionNetwork
"""A network whose ReLUs can be placed."""


def build(
    backbone: str | Architecture,
    placement: str | Placement | None = None,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int | None = None,
    activation: Activation = "relu",
    generator: torch.Generator | None = None,
) -> AnyNetwork:
    """Build a network with a placement.

    ```python
    model = build("preresnet-110", placement="2:1/first", num_classes=100)
    logits = model(torch.randn(8, 3, 32, 32))   # (8, 100)
    ```

    Args:
        backbone: a name such as `plain-38` or `torchvision:resnet18`, or an `Architecture`, whose
            width replaces `width`.
        placement: a `Placement`, placement text, a module name, or None for paired.
        num_classes: at least 2.
        in_channels: 1 (grey) or 3 (colour).
        width: channels of the first stage; None: 16.
        activation: activation of the kept sites. Stem and final activation are always ReLU. In a
            network of a function, `relu` means its own activations.
        generator: of the random initial weights; None means the global generator of torch. Equal
            seeds give equal initial weights for all placements, except with CReLU, whose doubled
            channels need more weights.

    Raises:
        InputError: unknown backbone or activation, impossible depth, a placement that does not
            fit, or CReLU at a site after a sum.
    """
    spec = parse_backbone(backbone, width)
    resolved = resolve_placement(spec, placement)
    if isinstance(spec, Backbone):
        model = Network(spec, num_classes, in_channels)
        apply_placement(model, resolved, activation)
        initialise(model, generator)
        return model
    assert isinstance(spec, FunctionBackbone)
    made = spec.build(num_classes, in_channels, generator)
    apply_placement(made, resolved, activation)
    return made


def initialise(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the initial weights as in arXiv:1611.07718, Section 4, in place.

    Convolutions: normal with std sqrt(2 / fan_in). Classifier: weights uniform in
    +-1/sqrt(fan_in), bias zero. BN: weight one, bias zero. A model on the meta device has no values
    and is not changed; otherwise torch would load its compiler, which takes 2 s.
    """
    if next(model.parameters()).is_meta:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in), generator=generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _stem(backbone: Backbone, in_channels: int) -> nn.Sequential:
    """3x3 conv to `width` channels; BN-ReLU in post-activation networks; a fork in DFN."""
    layers: list[nn.Module] = [conv3x3(in_channels, backbone.width)]
    if not backbone.spec.preactivation:
        layers += [batch_norm(backbone.width), nn.ReLU()]
    if backbone.family == "dfn":
        layers.append(Fork())
    return nn.Sequential(*layers)


def _blocks(backbone: Backbone) -> list[nn.Module]:
    block_class = BLOCKS[backbone.family]
    channels = backbone.width
    blocks: list[nn.Module] = []
    total = sum(backbone.blocks_per_stage)
    for stage, count in enumerate(backbone.blocks_per_stage):
        for i in range(count):
            if backbone.family == "dfn" and len(blocks) == total - 1:
                block_class = MergeRunLastBlock
            stride = 2 if stage > 0 and i == 0 else 1
            blocks.append(block_class(channels, backbone.width * 2**stage, stride))
            channels = _channels_out(backbone, stage)
    return blocks


def _channels_out(backbone: Backbone, stage: int) -> int:
    expansion: int = getattr(BLOCKS[backbone.family], "expansion", 1)
    return backbone.width * 2**stage * expansion
