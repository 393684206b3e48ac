"""The ways to choose what is tried first, and the lists that each of them gives for a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.relu_bench import Table
from benchmarks.relu_bench.images import images_of
from benchmarks.search.gates.front import Ranking
from benchmarks.search.gates.training import GROWING, NONE, Penalty, tied_sites, trained_gates
from benchmarks.search.gates.truth import Truth
from search_spaces import Placement
from trials import TrainingData


@dataclass(frozen=True)
class Gates:
    """One training with gates.

    Attributes:
        name: of its files.
        title: on the page.
        penalty: on open gates.
        cost: trainings that it costs: its epochs, in those of a trial.
    """

    name: str
    title: str
    penalty: Penalty
    cost: int


GATES = (
    Gates("growing-4", "gates, growing penalty", GROWING, 4),
    Gates("none-4", "gates, no penalty", NONE, 4),
    Gates("growing-1", "gates, growing penalty, short", GROWING, 1),
    Gates("none-1", "gates, no penalty, short", NONE, 1),
)
FREE = {
    "nothing": "nothing",
    "random": "one random placement of each count",
    "ascending": "fewest ReLUs first",
}
"""Ways that cost no training: the name of their files, and their title."""


def rankings(
    table: Table, gates: Gates, seeds: int, folder: Path, source: str | None
) -> list[Ranking]:
    """Trainings with the seeds 0, 1, ...; each is kept in a file of a folder.

    Args:
        source: as for `images_of`.
    """
    space = table.spec.space
    groups = tied_sites(space)
    folder.mkdir(parents=True, exist_ok=True)
    data: TrainingData | None = None
    found = []
    for seed in range(seeds):
        file = folder / f"{table.spec.name}-{gates.name}-{seed}.npy"
        if not file.exists():
            data = data or images_of(table.spec, source)[0]
            spec = table.spec.trial(space.backbone.paired, seed)
            recipe = replace(spec.recipe, epochs=gates.cost * spec.recipe.epochs)
            path = trained_gates(replace(spec, recipe=recipe), data, groups, gates.penalty)
            np.save(file, path)
        found.append(Ranking(np.load(file), gates.penalty, groups))
    return found


def free_lists(truth: Truth, name: str, seeds: int) -> Sequence[Sequence[Placement]]:
    """What a way of `FREE` tries first, for the seeds 0, 1, ...: as many as a front has."""
    if name == "random":
        return [truth.random_front(seed) for seed in range(seeds)]
    if name == "ascending":
        return [truth.ascending(seed)[: len(truth.groups)] for seed in range(seeds)]
    return [[]]
