"""TrialSpec: what to train, as plain data; and the network before its first training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from search_spaces import (
    Activation,
    Architecture,
    Backbone,
    InputError,
    Placement,
    backbone_from_json,
    build,
    check_activation,
    parse_backbone,
    resolve_placement,
)
from search_spaces.errors import require_type, shown
from search_spaces.networks.build import AnyNetwork
from trials.data.augmentation import stream
from trials.data.image_sets import TrainingData
from trials.training.recipe import FineTuning, Recipe

_INITIAL_WEIGHTS = 0
"""Purpose of the random stream for the initial weights. The streams 1, 2, ... are the epochs'."""

_KEYS = ("activation", "backbone", "placement", "recipe", "seed", "width")
_OPTIONAL_KEYS = ("fine_tuning", "network")
"""Keys of a spec in JSON. `network` is that of a function; a training from scratch has no
`fine_tuning`."""


@dataclass(frozen=True, kw_only=True, init=False)
class TrialSpec:
    """What to train. Immutable; `to_json` and `from_json` convert it to and from JSON.

    ```python
    TrialSpec(backbone="plain-20", width=8, placement="2:1", recipe=Recipe.named("short"))
    TrialSpec(backbone=Backbone("plain", 8), placement=Placement("010101"), recipe=recipe)
    ```

    Attributes:
        backbone: the network that is trained.
        placement: which ReLUs are kept; checked against the backbone.
        recipe: how to train.
        seed: of initial weights, image order, crops and flips.
        activation: the function at the kept sites.
        fine_tuning: the weights from which it starts; None: a training from scratch.
    """

    backbone: Architecture
    placement: Placement
    recipe: Recipe
    seed: int
    activation: Activation
    fine_tuning: FineTuning | None

    def __init__(
        self,
        *,
        backbone: str | Architecture,
        placement: str | Placement,
        recipe: Recipe,
        width: int | None = None,
        seed: int = 0,
        activation: Activation = "relu",
        fine_tuning: FineTuning | None = None,
    ) -> None:
        """Text is accepted for backbone and placement, and parsed here once.

        Args:
            backbone: a `Backbone`, or a name such as `plain-38`.
            placement: a `Placement`, its text, or a module name.
            width: channels of the first stage; None: those of the `Backbone`, 16 for a name.

        Raises:
            InputError: unknown backbone or activation, or a placement that does not fit.
        """
        if type(seed) is not int or seed < 0:
            raise InputError(f"seed is {shown(seed)}; it must be a whole number, at least 0")
        require_type("placement", placement, (str, Placement), "a text or a Placement")
        require_type("recipe", recipe, Recipe, "a Recipe, such as Recipe.named('short')")
        require_type("fine_tuning", fine_tuning, (FineTuning, type(None)), "a FineTuning or None")
        if isinstance(backbone, Backbone) and width is not None:
            backbone = replace(backbone, width=width)
        backbone = parse_backbone(backbone, width)
        for name, value in {
            "backbone": backbone,
            "placement": resolve_placement(backbone, placement),
            "recipe": recipe,
            "seed": seed,
            "activation": check_activation(activation),
            "fine_tuning": fine_tuning,
        }.items():
            object.__setattr__(self, name, value)  # the class is frozen

    @property
    def width(self) -> int | None:
        """Channels of the first stage, if a width defines the network."""
        return self.backbone.width

    def to_json(self) -> dict[str, Any]:
        """JSON values. Checkpoint files are named by a digest of them: keep keys and values."""
        values = {
            **self.backbone.to_json(),
            "placement": self.placement.text,
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "activation": self.activation,
        }
        if self.fine_tuning is not None:
            values["fine_tuning"] = self.fine_tuning.to_json()
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrialSpec:
        """Rebuild a spec from `to_json`'s value; it may run code that the spec names.

        Raises:
            InputError: a key is missing or unknown, or a value is wrong.
        """
        more = [key for key in _OPTIONAL_KEYS if isinstance(value, Mapping) and key in value]
        _require_keys("TrialSpec", sorted([*_KEYS, *more]), value)
        tuning = value.get("fine_tuning")
        if tuning is not None:
            _require_keys("FineTuning", sorted(one.name for one in fields(FineTuning)), tuning)
        return cls(
            backbone=backbone_from_json(value, may_run=True),
            placement=value["placement"],
            recipe=Recipe.from_json(value["recipe"]),
            seed=value["seed"],
            activation=value["activation"],
            fine_tuning=None if tuning is None else FineTuning(**tuning),
        )


def require_images_fit(data: TrainingData, backbone: Architecture) -> None:
    """Check that the images are large enough for the stages of a family.

    Raises:
        InputError: they are too small.
    """
    smallest = backbone.smallest_image
    if min(data.image_size) < smallest:
        raise InputError(
            f"images of {data.name!r} are {data.image_size[1]}x{data.image_size[0]} pixels; three "
            f"stages need at least {smallest}x{smallest}; use larger images"
        )


def untrained_network(spec: TrialSpec, data: TrainingData) -> AnyNetwork:
    """The network of a trial before its first step. The same seed gives the same weights."""
    return build(
        spec.backbone,
        spec.placement,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        activation=spec.activation,
        generator=stream(spec.seed, _INITIAL_WEIGHTS),
    )


def _require_keys(what: str, names: Sequence[str], value: object) -> None:
    if not isinstance(value, Mapping) or sorted(value, key=str) != list(names):
        raise InputError(f"a {what} has the keys {', '.join(names)}; got {shown(value)}")
