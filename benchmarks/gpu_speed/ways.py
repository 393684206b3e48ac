"""The ways of training a candidate that are compared on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from trials.fast.stand_in import stand_in_epochs
from trials.training.loop import TrainsEpoch
from trials.training.recipe import Precision, Recipe
from trials.training.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a candidate is trained."""

    precision: Precision = "fp32"
    compiled: bool = False
    captured: bool = False

    def __str__(self) -> str:
        graphs = [name for name in ("compiled", "captured") if getattr(self, name)]
        return ", ".join([" ".join(graphs) or "eager", self.precision])

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=400, batch_size=64, precision=self.precision)  # the paper's

    def epoch_by(self, spec: TrialSpec) -> TrainsEpoch | None:
        return stand_in_epochs(spec, compiled=self.compiled, captured=self.captured)


WAYS = (
    Way(),
    Way(captured=True),
    Way(compiled=True, captured=True),
    Way(captured=True, precision="bf16"),
    Way(compiled=True, captured=True, precision="bf16"),
)
