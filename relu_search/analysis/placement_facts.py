"""What is known of a placement without training it: its ratio and what it costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from search_spaces import (
    Activation,
    Architecture,
    DroppedNorm,
    FunctionBackbone,
    InputError,
    Placement,
    build,
    check_activation,
    look_alike,
    measure_complexity,
    module_name_of,
    parse_backbone,
    ratio_text,
    resolve_placement,
)
from search_spaces.drawing import stage_bars
from search_spaces.errors import shown
from search_spaces.networks.complexity import Complexity
from trials.data.image_sets import TrainingData
from trials.files.memory import require_memory

_WHILE_TRAINED = 3 * 4  # bytes per parameter: weight, gradient and momentum, in float32


@dataclass(frozen=True, kw_only=True)
class PlacementFacts:
    """The facts of placements of one backbone, for images of one shape.

    Attributes:
        backbone: of the placements.
        num_classes: outputs of the network.
        in_channels: 1 or 3.
        image_size: (height, width) in pixels.
        activation: what stands at the kept sites.
    """

    backbone: Architecture
    num_classes: int
    in_channels: int
    image_size: tuple[int, int]
    activation: Activation = "relu"

    @classmethod
    def on(
        cls, data: TrainingData, backbone: Architecture, activation: Activation = "relu"
    ) -> PlacementFacts:
        """For the images and classes of a data set."""
        return cls(
            backbone=backbone,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            activation=activation,
        )

    def of(self, placement: Placement) -> dict[str, Any]:
        """Columns of `trials.csv`: placement, ratio, relus, relu_elements, params, macs.

        `relus` counts the ReLUs kept in the blocks, the M of the ratio N:M. `relu_elements` counts
        the outputs of every ReLU that runs, those of stem and head included.
        """
        cost = self.complexity(placement)
        return {
            "placement": placement.text,
            "ratio": ratio_text(self.backbone, placement),
            "relus": placement.kept,
            "relu_elements": cost.relu_elements,
            "params": cost.params,
            "macs": cost.macs,
        }

    def require_trainable(self, images: int, batch_size: int) -> None:
        """Check that a network of this backbone can be trained, before any is.

        Two reasons are known why it cannot. Its weights, gradients and momenta do not fit into
        memory. Or the last batch of an epoch is one image and the maps of a layer are 1x1:
        BatchNorm needs more than one value for each channel.

        Args:
            images: of the training split.
            batch_size: of the recipe.

        Raises:
            InputError: it cannot; or the images are too small for the backbone.
        """
        params = self.complexity(self.backbone.paired).params
        require_memory(
            f"training {self.backbone.label}",
            _WHILE_TRAINED * params,
            "use a smaller width or depth",
        )
        if images % batch_size == 1 and (reason := self._fails_on_one_image()):
            raise InputError(
                f"{images:,} training images in batches of {batch_size} leave 1 image for the last "
                f"batch, on which {self.backbone.label} cannot be trained ({reason}); use another "
                "--batch-size"
            )

    def _fails_on_one_image(self) -> str:
        """What torch says when the network is trained on one image; "" if it can be."""
        import torch

        model = build(
            self.backbone,
            self.backbone.paired,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
        )
        try:
            with torch.no_grad():
                model.train()(torch.zeros(1, self.in_channels, *self.image_size))
        except ValueError as error:
            return str(error)
        return ""

    def prove(self) -> None:
        """Check that placements on this backbone do what they say, for these images.

        Raises:
            InputError: they do not.
        """
        self.backbone.prove(self.num_classes, self.in_channels, self.image_size)

    def complexity(self, placement: Placement, activation: Activation | None = None) -> Complexity:
        """Parameters, MACs and ReLU elements, also with another activation."""
        return measure_complexity(
            self.backbone,
            placement,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            image_size=self.image_size,
            activation=activation or self.activation,
        )


def describe(
    backbone: str,
    placement: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    width: int | None = None,
    norm: str = "keep",
    activation: str = "relu",
    backbone_args: str | None = None,
    sites: str | None = None,
    exclude: str | None = None,
) -> dict[str, Any]:
    """All facts of a placement on a backbone, as plain values.

    Those of `PlacementFacts.of`, the facts of the backbone, and one entry per site. `relu_layers`
    counts every ReLU that runs, those of stem and head included. `over_relu` is what the activation
    costs more than the ReLU. `drawing` has one bar per stage (`stage_bars`). A network of a
    function is proved first, and `left_out` has the activations that are no sites.

    Raises:
        InputError: an unknown backbone or module, or a placement that does not fit.
    """
    if image_size > 4096:
        raise InputError(f"image size is {shown(image_size)}; it must be at most 4096 pixels")
    spec = parse_backbone(backbone, width, arguments=backbone_args, sites=sites, exclude=exclude)
    resolved = resolve_placement(spec, placement, cast(DroppedNorm, norm))  # it checks the norm
    facts = PlacementFacts(
        backbone=spec,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=(image_size, image_size),
        activation=check_activation(activation),
    )
    facts.prove()
    cost, with_relu = facts.complexity(resolved), facts.complexity(resolved, "relu")
    return {
        "backbone": spec.name,
        "label": spec.label,
        "note": look_alike(spec),
        "family": spec.title,
        "width": spec.width,
        "blocks_per_stage": list(spec.blocks_per_stage),
        **facts.of(resolved),
        "module": module_name_of(spec, resolved),
        "norm": resolved.dropped_norm,
        "activation": facts.activation,
        "over_relu": {
            "params": cost.params - with_relu.params,
            "macs": cost.macs - with_relu.macs,
        },
        "convs": spec.convs,
        "relu_layers": cost.relu_layers,
        "drawing": stage_bars(spec, resolved),
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
        **(_of_function(spec) if isinstance(spec, FunctionBackbone) else {}),
    }


def _of_function(backbone: FunctionBackbone) -> dict[str, Any]:
    """What is particular to the network of a function."""
    layout = backbone.layout
    return {
        "backbone_args": json.loads(backbone.choice.source.arguments),
        "ratio_rule": "convolutions between the first and the last site : ReLUs kept",
        "has_blocks": layout.has_blocks,
        "left_out": [
            {"name": name, "reason": place.out}
            for name, place in zip(layout.names, layout.places, strict=True)
            if place.out
        ],
        "not_called": list(layout.not_called),
    }
