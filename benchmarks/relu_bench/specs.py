"""What the tables of ReLU-Bench hold: spaces, data, recipes, seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from search_spaces import Placement, SearchSpace
from search_spaces.space import Granularity
from trials import Recipe, TrialSpec

FOLDER = Path(__file__).parent
_FOUR_EPOCHS = Recipe(epochs=4, batch_size=64, learning_rate=0.1, schedule="one-cycle")


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One table: every placement of a space, trained under one recipe with several seeds.

    Attributes:
        name: of the table and its file.
        backbone, width, granularity: the space; all-linear is part of it.
        seeds: trainings of each placement, with seeds 0, 1, ...
        train_images, validation_images: of the data set's training split.
    """

    name: str
    backbone: str
    granularity: Granularity
    seeds: int
    width: int = 8
    data: str = "digits"
    train_images: int = 500
    validation_images: int = 700
    recipe: Recipe = _FOUR_EPOCHS

    @cached_property
    def space(self) -> SearchSpace:
        return SearchSpace(self.backbone, self.granularity, min_relus=0, width=self.width)

    @cached_property
    def placements(self) -> tuple[Placement, ...]:
        """The rows of the table, in order of their bits."""
        return tuple(sorted(self.space.enumerate(), key=lambda placement: placement.bits))

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.npz"

    def trial(self, placement: Placement, seed: int) -> TrialSpec:
        return TrialSpec(
            backbone=self.backbone,
            width=self.width,
            placement=placement,
            seed=seed,
            recipe=self.recipe,
        )


SPECS = {
    spec.name: spec
    for spec in (
        TableSpec(name="plain-12", backbone="plain-12", granularity="site", seeds=10),
        TableSpec(name="preresnet-8", backbone="preresnet-8", granularity="block", seeds=20),
    )
}
"""The tables that are shipped, by name."""
