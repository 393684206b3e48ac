"""What the tables of ReLU-Bench contain: spaces, data, recipes, seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from search_spaces import Placement, SearchSpace
from search_spaces.space import Granularity
from trials import Recipe, TrialSpec

FOLDER = Path(__file__).parent
_FOUR_EPOCHS = Recipe(epochs=4, batch_size=64, learning_rate=0.1, schedule="one-cycle")

METRICS = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
)
"""What is known of a training after every epoch; losses in nats, accuracies 0 to 1."""
PRECISE_METRICS = ("precise_val_loss", "precise_val_accuracy")
"""On the validation images, with the BatchNorm statistics of the present weights."""


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One table: every placement of a space, trained under one recipe with several seeds.

    Attributes:
        name: of the table and its file.
        backbone, width, granularity: the space; all-linear is part of it.
        seeds: trainings of each placement, with seeds 0, 1, ...
        data: a data set.
        train_images, validation_images: of the data set's training split.
        test_images: a stratified draw from the test split; None: all of it.
        shrink: images are averaged over squares of so many pixels on a side.
        metrics: what the table knows of every epoch.
    """

    name: str
    backbone: str
    granularity: Granularity
    seeds: int
    width: int = 8
    data: str = "digits"
    train_images: int = 500
    validation_images: int = 700
    test_images: int | None = None
    shrink: int = 1
    recipe: Recipe = _FOUR_EPOCHS
    metrics: tuple[str, ...] = METRICS

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


def _colour(name: str, *, epochs: int, seeds: int) -> TableSpec:
    """A table of plain-20 on real colour images; the tables differ in the length of training."""
    return TableSpec(
        name=name,
        backbone="plain-20",
        granularity="stage",
        seeds=seeds,
        data="cifar10",
        train_images=4_000,
        validation_images=2_000,
        test_images=4_000,
        shrink=2,
        recipe=replace(_FOUR_EPOCHS, epochs=epochs),
        metrics=METRICS + PRECISE_METRICS,
    )


SPECS = {
    spec.name: spec
    for spec in (
        TableSpec(name="plain-12", backbone="plain-12", granularity="site", seeds=10),
        TableSpec(name="preresnet-8", backbone="preresnet-8", granularity="block", seeds=20),
        _colour("plain-20-colour", epochs=30, seeds=6),
        _colour("plain-20-colour-short", epochs=8, seeds=3),
    )
}
"""The tables that are shipped, by name."""

SIXTY_SITES = TableSpec(name="sixty-sites", backbone="preresnet-62", granularity="site", seeds=10)
"""The synthetic table; it has too many placements to train or to list."""
