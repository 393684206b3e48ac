"""A synthetic table: for each placement a model's learning curve, and the noise of real seeds.

It is for spaces of which no table can be trained. `README.md` says how it was made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench.placement_model import Floats, Ints, PlacementModel
from benchmarks.relu_bench.specs import SIXTY_SITES, TableSpec
from search_spaces import InputError, Placement
from search_spaces.backbones import STAGES

TRUTH = "test_loss"
"""What a placement is judged by, after the last epoch."""
NEAREST = 8
"""Placements from whose trainings the noise of a placement is drawn."""


class RowNumbers(dict[str, int]):
    """Bits -> row. A placement is numbered when it is first asked for."""

    def __init__(self, sites: int) -> None:
        super().__init__()
        self._sites = sites
        self.bits: list[str] = []

    def __missing__(self, bits: str) -> int:
        if len(Placement(bits)) != self._sites:
            raise InputError(
                f"placement {bits!r} has {len(bits)} sites; the table's network has {self._sites}"
            )
        self[bits] = len(self.bits)
        self.bits.append(bits)
        return self[bits]


@dataclass(frozen=True, eq=False)
class SyntheticTable:
    """Every training of a space, by a model of the placement and by the noise of real trainings.

    Losses are modelled by their logarithm and accuracies by their logit. A target is a metric
    after an epoch: the epochs of the first metric, then those of the second, and so on.

    Attributes:
        spec: what is trained. Its `placements` cannot be listed.
        model: of all targets.
        seed_effects: (seeds, targets): what a seed adds to each placement; zero in the mean.
        deviations: (repeated placements, seeds, targets): what a real training had beside its
            placement's mean and its seed's effect. Each placement's mean is zero.
        repeated: (repeated placements,): ReLUs kept in them.
        seconds: (repeated placements, seeds) of training and validation.
    """

    spec: TableSpec
    model: PlacementModel
    seed_effects: Floats
    deviations: Floats
    repeated: Floats
    seconds: Floats
    row_of: RowNumbers = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_of", RowNumbers(len(self.spec.space.backbone.sites)))

    def bits_of(self, row: int) -> str:
        """The placement of a row; rows count the placements of this process only."""
        return self.row_of.bits[row]

    def curves(self, row: int, seed: int) -> dict[str, Floats]:
        """Each metric after each epoch of one training, (epochs,); equal in all processes.

        There is a training for every seed. Seeds that differ by a multiple of `spec.seeds` share
        their effect on all placements.

        Raises:
            InputError: the seed is below 0.
        """
        bits = self.bits_of(row)
        values = self.deviations[self._drawn(bits, seed)]
        values = values + self.seed_effects[seed % len(self.seed_effects)]
        values = (values + self.model.predict(points_of([bits]))[0]).reshape(
            len(self.spec.metrics), self.spec.recipe.epochs
        )
        return {
            metric: plain(metric, curve)
            for metric, curve in zip(self.spec.metrics, values, strict=True)
        }

    def seconds_of(self, row: int, seed: int) -> float:
        """Seconds of one training: those of the real training whose deviation it has."""
        return float(self.seconds[self._drawn(self.bits_of(row), seed)])

    def truth(self, points: NDArray[np.integer]) -> Floats:
        """(n,): true test loss in nats of (n, sites) bits, without noise."""
        return plain(TRUTH, self.model.predict(points)[:, target_of(self.spec, TRUTH)])

    @cached_property
    def best(self) -> tuple[str, float]:
        """Bits and true test loss of the best placement with at least one ReLU."""
        bits, value = self.model.lowest(
            target_of(self.spec, TRUTH), range(1, sum(self.model.sizes) + 1)
        )
        return bits, float(plain(TRUTH, np.array([value]))[0])

    def _drawn(self, bits: str, seed: int) -> tuple[int, int]:
        """The repeated placement and the seed of the real training whose deviation is added.

        It is drawn from the `NEAREST` placements with the most similar numbers of ReLUs, because
        placements with many ReLUs have more noise.
        """
        if seed < 0:
            raise InputError(f"seed is {seed}; seeds of table {self.spec.name} begin at 0")
        digest = hashlib.blake2b(f"{bits} {seed}".encode(), digest_size=8).digest()
        seeds = self.deviations.shape[1]
        which, drawn_seed = divmod(int.from_bytes(digest, "big") % (NEAREST * seeds), seeds)
        distance = np.abs(self.repeated - bits.count("1"))
        return int(np.argsort(distance, kind="stable")[which]), drawn_seed


def target_of(spec: TableSpec, metric: str) -> int:
    """The target of a metric after the last epoch."""
    return (spec.metrics.index(metric) + 1) * spec.recipe.epochs - 1


def points_of(bits: list[str]) -> Ints:
    """(n, sites) of 0 and 1."""
    return np.array([[int(bit) for bit in text] for text in bits])


def plain(metric: str, values: Floats) -> Floats:
    """Losses in nats, or accuracies 0 to 1, from the scale on which they are modelled."""
    found: Floats = np.exp(values) if metric.endswith("loss") else 1 / (1 + np.exp(-values))
    return found


def modelled(metric: str, values: Floats, images: int) -> Floats:
    """The inverse of `plain`; an accuracy counts as if half an image more were right and wrong."""
    if metric.endswith("loss"):
        return np.log(values)
    right = values * images
    found: Floats = np.log((right + 0.5) / (images - right + 0.5))
    return found


def save(table: SyntheticTable) -> None:
    """Write the file that is shipped, in float32."""
    model = table.model
    arrays = {
        "sites": model.sites,
        "pairs": model.pairs,
        "total": model.total,
        "seed_effects": table.seed_effects,
        "deviations": table.deviations,
        "repeated": table.repeated,
        "seconds": table.seconds,
        **{f"stage{number}": stage for number, stage in enumerate(model.stages)},
    }
    small = {name: values.astype(np.float32) for name, values in arrays.items()}
    np.savez_compressed(table.spec.path, allow_pickle=False, **small)


@cache
def load_synthetic(name: str = SIXTY_SITES.name) -> SyntheticTable:
    """Read a synthetic table that is shipped.

    Raises:
        InputError: there is no table of this name, or it is not made.
    """
    spec = SIXTY_SITES
    if name != spec.name:
        raise InputError(f"synthetic table {name!r} is unknown; use {spec.name}")
    if not spec.path.exists():
        raise InputError(
            f"table {name!r} is not made; run python -m benchmarks.relu_bench.sixty_sites"
        )
    with np.load(spec.path, allow_pickle=False) as file:
        stored = {key: file[key].astype(np.float64) for key in file.files}
    stages = tuple(stored.pop(f"stage{number}") for number in range(STAGES))
    sites, pairs, total = (stored.pop(name) for name in ("sites", "pairs", "total"))
    model = PlacementModel(sites, pairs, stages, total)
    return SyntheticTable(spec=spec, model=model, **stored)
