"""Recipe: all settings of a training run except network, data and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from search_spaces import InputError
from search_spaces.errors import require_type, shown

Schedule = Literal["step", "one-cycle"]
Precision = Literal["fp32", "tf32", "bf16"]

MAX_EPOCHS = 100_000
_STEPS = (1 / 2, 3 / 4, 7 / 8)
_WARM_UP = 0.3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum, weight decay on all parameters, and a schedule.

    Attributes:
        name: `paper`, `short`, or the user's own.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: the highest learning rate.
        schedule: `step` multiplies by 0.1 at 1/2, 3/4 and 7/8 of the epochs; `one-cycle` rises
            linearly over the first 30 % of the steps and falls linearly to zero.
        momentum: Nesterov's, between 0 and 1.
        weight_decay: on all parameters.
        precision: `fp32`; or on CUDA `tf32` (float32, with rounded factors in convolutions and
            matrix products) or `bf16` (autocast). Reference runs are `fp32`.

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

    def __post_init__(self) -> None:
        for what, count in (("epochs", self.epochs), ("batch size", self.batch_size)):
            _require(type(count) is int, what, count, "a whole number")
        _require(isinstance(self.name, str), "name", self.name, "a text")
        for what, number in (
            ("learning rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight decay", self.weight_decay),
        ):
            _require(type(number) in (int, float), what, number, "a number")
        _require(1 <= self.epochs <= MAX_EPOCHS, "epochs", self.epochs, f"1 to {MAX_EPOCHS}")
        _require(2 <= self.batch_size <= 65_536, "batch size", self.batch_size, "2 to 65536")
        _require(0 < self.learning_rate < 100, "learning rate", self.learning_rate, "0 to 100")
        _require(0 < self.momentum < 1, "momentum", self.momentum, "between 0 and 1")
        _require(0 <= self.weight_decay < 1, "weight decay", self.weight_decay, "0 to 1")
        schedules, precisions = get_args(Schedule), get_args(Precision)
        _require(self.schedule in schedules, "schedule", self.schedule, " or ".join(schedules))
        _require(self.precision in precisions, "precision", self.precision, " or ".join(precisions))

    @classmethod
    def named(cls, name: str, epochs: int | None = None) -> Recipe:
        """A recipe by name, optionally with another number of epochs.

        Raises:
            InputError: no recipe of that name.
        """
        require_type("recipe", name, str, f"one of {', '.join(RECIPES)}")
        if name not in RECIPES:
            raise InputError(f"recipe {name[:60]!r} is unknown; use one of {', '.join(RECIPES)}")
        return RECIPES[name] if epochs is None else replace(RECIPES[name], epochs=epochs)

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate of the step after a share `progress` of all steps, in [0, 1)."""
        if self.schedule == "step":
            return self.learning_rate * math.prod(0.1 for step in _STEPS if progress >= step)
        if progress < _WARM_UP:
            return self.learning_rate * progress / _WARM_UP
        return self.learning_rate * (1 - progress) / (1 - _WARM_UP)

    def learning_rates(self, epoch: int, steps: int) -> list[float]:
        """Learning rates of the `steps` steps of an epoch (1-based)."""
        return [
            self.learning_rate_at((epoch - 1 + step / steps) / self.epochs) for step in range(steps)
        ]


def _require(condition: bool, what: str, value: object, rule: str) -> None:
    if not condition:
        raise InputError(f"{what} is {shown(value)}; it must be {rule}")


RECIPES = {
    # arXiv:1611.07718, Section 4.1, which the paper follows.
    "paper": Recipe(name="paper", epochs=400),
    # A few epochs: this measures how fast a network trains, not its final accuracy.
    "short": Recipe(name="short", epochs=5, batch_size=32, schedule="one-cycle"),
}
