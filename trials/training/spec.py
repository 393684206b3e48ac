"""TrialSpec: what to train, as plain data; and the network it means before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from search_spaces import (
    Activation,
    Backbone,
    InputError,
    build,
    check_activation,
    resolve_placement,
)
from search_spaces.networks import SMALLEST_IMAGE, Network
from trials.data.augmentation import stream
from trials.data.splits import TrainingData
from trials.training.recipe import Recipe

_INITIAL_WEIGHTS = 0
"""Purpose of the random stream that draws initial weights; epochs 1, 2, ... draw the data's."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What to train: plain data that survives JSON.

    Attributes:
        backbone: name of the contract, such as `plain-38`.
        width: channels of the first stage.
        placement: placement text or module name.
        recipe: how to train.
        seed: of initial weights, image order, crops and flips.
        activation: what stands at the kept sites.

    Raises:
        InputError: unknown backbone or activation, or a placement that does not fit.
    """

    backbone: str
    placement: str
    recipe: Recipe
    width: int = 16
    seed: int = 0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(f"seed is {self.seed!r}; it must be a whole number, at least 0")
        if not isinstance(self.placement, str) or not isinstance(self.recipe, Recipe):
            raise InputError(
                f"placement {self.placement!r:.80} must be a text and recipe {self.recipe!r:.80} a "
                "Recipe"
            )
        check_activation(self.activation)
        resolve_placement(Backbone.parse(self.backbone, self.width), self.placement)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrialSpec:
        """Rebuild a spec from `to_json`'s value.

        Raises:
            InputError: a key is missing or unknown.
        """
        _require_keys(cls, value)
        _require_keys(Recipe, value["recipe"])
        return cls(**{**value, "recipe": Recipe(**value["recipe"])})


def require_images_fit(data: TrainingData) -> None:
    """Raises InputError: the images are too small for three stages."""
    if min(data.image_size) < SMALLEST_IMAGE:
        raise InputError(
            f"images of {data.name!r} are {data.image_size[1]}x{data.image_size[0]} pixels; three "
            f"stages need at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE}"
        )


def untrained_network(spec: TrialSpec, data: TrainingData) -> Network:
    """The network of a trial before its first step: the same weights for the same seed."""
    return build(
        Backbone.parse(spec.backbone, spec.width),
        spec.placement,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        activation=spec.activation,
        generator=stream(spec.seed, _INITIAL_WEIGHTS),
    )


def _require_keys(cls: type[TrialSpec | Recipe], value: object) -> None:
    names = sorted(field.name for field in fields(cls))
    if not isinstance(value, Mapping) or sorted(value) != names:
        raise InputError(f"a {cls.__name__} has the keys {', '.join(names)}; got {value!r:.200}")
