"""One whole training run: TrialSpec in, TrialResult out. Works without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search_spaces import (
    Activation,
    Backbone,
    InputError,
    build,
    check_activation,
    resolve_placement,
)
from search_spaces.networks import SMALLEST_IMAGE, Network
from trials.augmentation import stream
from trials.checkpoint import Checkpoint, save_weights
from trials.data import TrainingData
from trials.recipe import Recipe
from trials.stand_in import train_by_stand_in
from trials.training import EpochMetrics, NonFiniteLossError, train

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


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a training run went.

    Attributes:
        spec: what was trained.
        epochs: metrics of every finished epoch.
        failure: why the run ended early, or None.
        model: the trained network, in eval mode, on the device that trained it.
    """

    spec: TrialSpec
    epochs: tuple[EpochMetrics, ...]
    failure: str | None
    model: Network


def run_trial(
    spec: TrialSpec,
    data: TrainingData,
    *,
    device: torch.device | str = "cpu",
    save_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    compiled: bool = False,
    captured: bool = False,
) -> TrialResult:
    """Build, apply the placement, train, validate.

    ```python
    spec = TrialSpec(backbone="plain-20", placement="2:1", width=8, recipe=Recipe.named("short"))
    run_trial(spec, load_data("digits")).epochs[-1].val_accuracy
    ```

    Runs on one CPU thread, whatever the process was set to: beside other workers more threads are
    several times slower, and one thread makes the metrics repeatable to the bit.

    Args:
        save_to: file for the trained weights, written before the last `on_epoch`, because a
            scheduler may end the run inside that call.
        checkpoint: where the run goes on if it was cut off.
        on_epoch: called after every epoch, those of the checkpoint included.
        compiled, captured: train with one compiled graph, or one recorded CUDA graph, that all
            placements share.

    Raises:
        StorageError: weights or checkpoint cannot be written.
        InputError: the data do not suit the network, the network cannot be gated, or `captured` on
            a device other than CUDA.
    """
    require_images_fit(data)
    if captured and torch.device(device).type != "cuda":
        raise InputError("captured steps need a CUDA device; leave captured out on the CPU")
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(spec.seed)  # rrelu draws its slopes from torch's own generator
        model = untrained_network(spec, data)
        epochs: list[EpochMetrics] = []
        failure, epoch_by = None, None
        if compiled or captured:
            epoch_by = partial(
                train_by_stand_in, activation=spec.activation, compiled=compiled, captured=captured
            )
        try:
            for metrics in train(
                model,
                data,
                spec.recipe,
                seed=spec.seed,
                device=device,
                checkpoint=checkpoint,
                epoch_by=epoch_by,
            ):
                epochs.append(metrics)
                if save_to is not None and metrics.epoch == spec.recipe.epochs:
                    save_weights(model, save_to)
                if on_epoch is not None:
                    on_epoch(metrics)
        except NonFiniteLossError as error:
            failure = str(error)
        return TrialResult(spec=spec, epochs=tuple(epochs), failure=failure, model=model.eval())


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


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread inside, and as many as before behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
