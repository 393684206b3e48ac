"""What a placement is and what it costs, known without training it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from search_spaces import (
    Activation,
    Backbone,
    DroppedNorm,
    InputError,
    Placement,
    check_activation,
    measure_complexity,
    module_name_of,
    ratio_text,
    resolve_placement,
)
from trials.data.splits import TrainingData


@dataclass(frozen=True)
class TrialFacts:
    """What is known of a placement without training it, for this backbone and data set."""

    backbone: Backbone
    data: TrainingData
    activation: Activation = "relu"

    def of(self, placement: Placement) -> dict[str, Any]:
        cost = measure_complexity(
            self.backbone,
            placement,
            num_classes=self.data.num_classes,
            in_channels=self.data.in_channels,
            image_size=self.data.image_size,
            activation=self.activation,
        )
        return {
            "placement": placement.text,
            "ratio": ratio_text(self.backbone, placement),
            "relus": placement.kept,
            "relu_elements": cost.relu_elements,
            "params": cost.params,
            "macs": cost.macs,
        }


def describe(
    backbone: str,
    placement: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    width: int = 16,
    norm: str = "keep",
    activation: str = "relu",
) -> dict[str, Any]:
    """All facts of a placement on a backbone, as plain values.

    `relus` counts the ReLUs kept in the blocks, the M side of the ratio; `relu_layers` and
    `relu_elements` count every ReLU that runs, stem and final ones included.

    Raises:
        InputError: unknown backbone or module, or a placement that does not fit.
    """
    if image_size > 4096:
        raise InputError(f"image size is {image_size}; it must be at most 4096 pixels")
    spec = Backbone.parse(backbone, width)
    resolved = resolve_placement(spec, placement, cast(DroppedNorm, norm))  # it checks the norm
    rectifier = check_activation(activation)

    from search_spaces import measure_complexity  # torch, only once the input is checked

    measure = partial(
        measure_complexity,
        spec,
        resolved,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=(image_size, image_size),
    )
    cost, with_relu = measure(activation=rectifier), measure()
    return {
        "backbone": spec.name,
        "family": spec.spec.title,
        "width": spec.width,
        "blocks_per_stage": list(spec.blocks_per_stage),
        "placement": resolved.text,
        "module": module_name_of(spec, resolved),
        "ratio": ratio_text(spec, resolved),
        "norm": resolved.dropped_norm,
        "activation": rectifier,
        "over_relu": {
            "params": cost.params - with_relu.params,
            "macs": cost.macs - with_relu.macs,
        },
        "convs": spec.convs,
        "relus": resolved.kept,
        "relu_layers": cost.relu_layers,
        "relu_elements": cost.relu_elements,
        "params": cost.params,
        "macs": cost.macs,
        "sites": [
            {
                "name": site.name,
                "stage": site.stage + 1,
                "block": site.block + 1,
                "kept": kept,
                "elements": elements,
            }
            for site, kept, elements in zip(spec.sites, resolved, cost.site_elements, strict=True)
        ],
    }
