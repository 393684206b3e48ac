"""Recipe: all settings of a training run except network, data and seed; FineTuning: its start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from search_spaces import InputError
from search_spaces.errors import require_type, shown

OptimizerName = Literal["sgd", "adamw"]
Schedule = Literal["step", "one-cycle", "cosine", "constant"]
Precision = Literal["fp32", "tf32", "bf16"]

MAX_EPOCHS = 100_000
PRETRAINED = "pretrained"
"""In the place of a file of weights: those that torchvision or timm offer for a network."""
DISTILL_TEMPERATURE = 4.0
_ONE_CYCLE_WARM_UP = 0.3
_ALWAYS_WRITTEN = (
    *("name", "epochs", "batch_size", "learning_rate", "schedule", "momentum"),
    *("weight_decay", "precision"),
)
"""Keys of every recipe in JSON. The others are written only where they are not the default."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: optimizer, schedule of the learning rate, regularisation.

    Attributes:
        name: a key of `RECIPES`, the name of a recipe file, or `custom`.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: the highest learning rate.
        schedule: `step` multiplies by 0.1 at each of the milestones; `one-cycle` rises linearly
            during the warm-up and falls linearly to zero; `cosine` falls to zero along half a
            cosine; `constant` stays.
        momentum: Nesterov's, between 0 and 1; with `adamw` the decay of the mean gradient (beta 1).
        weight_decay: with `sgd` added to the gradient, with `adamw` decoupled from it.
        precision: `fp32`; or on CUDA `tf32` (float32, with rounded factors in convolutions and
            matrix products) or `bf16` (autocast). Reference runs are `fp32`.
        milestones: of `step`, as rising shares of the training.
        warm_up: share of the steps in which the learning rate rises linearly from zero; None: 0.3
            with `one-cycle`, else 0.
        optimizer: `sgd` (with Nesterov momentum) or `adamw` (beta 2 is 0.999, epsilon 1e-8).
        spare_norms: no weight decay on vectors, which are the weights of norms and all biases.
        label_smoothing: share of each label that is spread evenly over all classes.
        clip_norm: gradients are scaled down to this norm over all parameters; None: never.

    Raises:
        InputError: a value out of range.
    """

    name: str = "custom"
    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.1
    schedule: Schedule = "step"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    precision: Precision = "fp32"
    milestones: tuple[float, ...] = (1 / 2, 3 / 4, 7 / 8)
    warm_up: float | None = None
    optimizer: OptimizerName = "sgd"
    spare_norms: bool = False
    label_smoothing: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        for what, count in (("epochs", self.epochs), ("batch size", self.batch_size)):
            _require(type(count) is int, what, count, "a whole number")
        _require(isinstance(self.name, str), "name", self.name, "a text")
        for what, number in (
            ("learning rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight decay", self.weight_decay),
            ("warm up", 0 if self.warm_up is None else self.warm_up),
            ("label smoothing", self.label_smoothing),
            ("clip norm", 1 if self.clip_norm is None else self.clip_norm),
        ):
            _require(type(number) in (int, float), what, number, "a number")
        _require(1 <= self.epochs <= MAX_EPOCHS, "epochs", self.epochs, f"1 to {MAX_EPOCHS}")
        _require(2 <= self.batch_size <= 65_536, "batch size", self.batch_size, "2 to 65536")
        _require(0 < self.learning_rate < 100, "learning rate", self.learning_rate, "0 to 100")
        _require(0 < self.momentum < 1, "momentum", self.momentum, "between 0 and 1")
        _require(0 <= self.weight_decay < 1, "weight decay", self.weight_decay, "0 to 1")
        for what, value, known in (
            ("schedule", self.schedule, get_args(Schedule)),
            ("precision", self.precision, get_args(Precision)),
            ("optimizer", self.optimizer, get_args(OptimizerName)),
        ):
            _require(value in known, what, value, " or ".join(known))
        self._check_the_rest()

    def _check_the_rest(self) -> None:
        marks, rule = self.milestones, "rising shares between 0 and 1, such as 0.5,0.75"
        is_list = isinstance(marks, tuple | list)
        _require(is_list and all(type(m) in (int, float) for m in marks), "milestones", marks, rule)
        object.__setattr__(self, "milestones", marks := tuple(marks))
        rises = all(a < b for a, b in zip((0, *marks), (*marks, 1), strict=True))
        _require(rises, "milestones", marks, rule)
        share = 0 if self.warm_up is None else self.warm_up
        _require(0 <= share < 1, "warm up", self.warm_up, "at least 0 and below 1")
        _require(type(self.spare_norms) is bool, "spare norms", self.spare_norms, "true or false")
        smoothing = self.label_smoothing
        _require(0 <= smoothing < 1, "label smoothing", smoothing, "at least 0 and below 1")
        norm = 1 if self.clip_norm is None else self.clip_norm
        _require(0 < norm < math.inf, "clip norm", self.clip_norm, "above 0")

    @classmethod
    def named(cls, name: str, epochs: int | None = None) -> Recipe:
        """A recipe by name, optionally with another number of epochs.

        Raises:
            InputError: no recipe of that name.
        """
        require_type("recipe", name, str, f"one of {', '.join(RECIPES)}")
        if name not in RECIPES:
            raise InputError(
                f"recipe {name[:60]!r} is unknown; use a file FILE.toml, or one of "
                f"{', '.join(RECIPES)}"
            )
        return RECIPES[name] if epochs is None else replace(RECIPES[name], epochs=epochs)

    def to_json(self) -> dict[str, Any]:
        """JSON values. Checkpoint files are named by a digest of them: keep keys and values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["milestones"] = list(self.milestones)
        standard = {one.name: one.default for one in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name in _ALWAYS_WRITTEN or getattr(self, name) != standard[name]
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from `to_json`'s value, or from a table that a user wrote.

        Raises:
            InputError: `epochs` is missing, a key is unknown, or a value is wrong.
        """
        known = [one.name for one in fields(cls)]
        require_type("a Recipe", values, Mapping, "a table")
        wrong = [key for key in values if key not in known]
        if wrong or "epochs" not in values:
            what = f"unknown key {wrong[0]!r:.60}" if wrong else "epochs is missing"
            raise InputError(f"a Recipe has the keys {', '.join(sorted(known))}; {what}")
        return cls(**values)

    @property
    def text(self) -> str:
        """The name; with all settings, unless it is a recipe of `RECIPES`."""
        known = RECIPES.get(self.name)
        if known == replace(self, epochs=known.epochs if known else 1, precision="fp32"):
            return self.name
        parts = [self.optimizer, f"batch size {self.batch_size}"]
        parts += [f"learning rate {self.learning_rate:g}", self.schedule]
        if self.schedule == "step":
            parts[-1] += f" at {', '.join(f'{mark:g}' for mark in self.milestones)}"
        parts += [f"warm-up {self.rise:g}"] * (self.rise > 0)
        parts += [f"momentum {self.momentum:g}", f"weight decay {self.weight_decay:g}"]
        parts[-1] += " but on norms and biases" * self.spare_norms
        parts += [f"label smoothing {self.label_smoothing:g}"] * (self.label_smoothing > 0)
        if self.clip_norm is not None:
            parts.append(f"clip norm {self.clip_norm:g}")
        return f"{self.name} ({', '.join(parts)})"

    @property
    def rise(self) -> float:
        """Share of the steps in which the learning rate rises."""
        if self.warm_up is not None:
            return self.warm_up
        return _ONE_CYCLE_WARM_UP if self.schedule == "one-cycle" else 0.0

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate of the step after a share `progress` of all steps, in [0, 1)."""
        if progress < self.rise:
            return self.learning_rate * progress / self.rise
        if self.schedule == "step":
            return self.learning_rate * math.prod(0.1 for m in self.milestones if progress >= m)
        if self.schedule == "one-cycle":
            return self.learning_rate * (1 - progress) / (1 - self.rise)
        if self.schedule == "cosine":
            fallen = (progress - self.rise) / (1 - self.rise)
            return self.learning_rate * (1 + math.cos(math.pi * fallen)) / 2
        return self.learning_rate

    def learning_rates(self, epoch: int, steps: int) -> list[float]:
        """Learning rates of the `steps` steps of an epoch (1-based)."""
        return [
            self.learning_rate_at((epoch - 1 + step / steps) / self.epochs) for step in range(steps)
        ]


def _require(condition: bool, what: str, value: object, rule: str) -> None:
    if not condition:
        raise InputError(f"{what} is {shown(value)}; it must be {rule}")


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """From which weights a training starts, and what it learns from their network.

    Attributes:
        weights: digest of the weights (`StartingWeights.digest`).
        distill: weight of the distillation in the loss, 0 to 1; 0: the loss has none.
        temperature: of the distillation.

    Raises:
        InputError: a value out of range.
    """

    weights: str
    distill: float = 0.0
    temperature: float = DISTILL_TEMPERATURE

    def __post_init__(self) -> None:
        require_type("weights", self.weights, str, "the digest of weights")
        for name, value, least, most in (
            ("distill", self.distill, 0, 1),
            ("temperature", self.temperature, 0.01, 100),
        ):
            if type(value) not in (int, float) or not least <= value <= most:
                raise InputError(f"{name} is {shown(value)}; it must be {least} to {most}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def require_packable(recipe: Recipe) -> None:
    """Check that a pack can train with a recipe.

    Raises:
        InputError: it cannot.
    """
    if recipe.optimizer != "sgd" or recipe.clip_norm is not None:
        what = "a clip norm" if recipe.optimizer == "sgd" else f"optimizer {recipe.optimizer}"
        raise InputError(
            f"packs cannot train with {what}: a pack updates the weights of all its trials as one "
            "vector, by sgd; leave out --pack, or change the recipe"
        )


RECIPES = {
    # arXiv:1611.07718, Section 4.1, which the paper follows.
    "paper": Recipe(name="paper", epochs=400),
    # A few epochs: this measures how fast a network trains, not its final accuracy.
    "short": Recipe(name="short", epochs=5, batch_size=32, schedule="one-cycle"),
    # From trained weights: a tenth of the learning rate, which falls from the first step.
    "finetune": Recipe(
        name="finetune", epochs=5, batch_size=32, learning_rate=0.01, schedule="cosine"
    ),
}
