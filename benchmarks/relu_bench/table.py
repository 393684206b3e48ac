"""The loader of ReLU-Bench: what became of a training, without training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench.specs import SPECS, TableSpec
from search_spaces import InputError, Placement, resolve_placement


@dataclass(frozen=True, eq=False)
class Table:
    """Every training of one table.

    Attributes:
        spec: what was trained.
        metrics: name -> float64 (placements, seeds, epochs); NaN where a training is missing or
            had failed by then. Placements are in the order of `spec.placements`.
        seconds: (placements, seeds) of training and validation, on the machine of the datasheet.
    """

    spec: TableSpec
    metrics: dict[str, NDArray[np.float64]]
    seconds: NDArray[np.float64]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Bits -> row."""
        return {placement.bits: row for row, placement in enumerate(self.spec.placements)}

    @cached_property
    def relus(self) -> NDArray[np.int64]:
        """(placements,): ReLUs kept in the blocks."""
        return np.array([placement.kept for placement in self.spec.placements])

    @cached_property
    def seeds(self) -> NDArray[np.int64]:
        """(placements,): trainings of full length."""
        counts: NDArray[np.int64] = np.isfinite(self.final("val_loss")).sum(axis=1)
        return counts

    def final(self, metric: str) -> NDArray[np.float64]:
        """(placements, seeds): a metric after the last epoch."""
        return self.metrics[metric][:, :, -1]

    def bits_of(self, row: int) -> str:
        """The placement of a row."""
        return self.spec.placements[row].bits

    def curves(self, row: int, seed: int) -> dict[str, NDArray[np.float64]]:
        """Each metric after each epoch of one training, (epochs,)."""
        return {metric: values[row, seed] for metric, values in self.metrics.items()}

    def seconds_of(self, row: int, seed: int) -> float:
        """Seconds of one training."""
        return float(self.seconds[row, seed])

    def query(self, placement: Placement | str, epoch: int, seed: int) -> dict[str, float]:
        """What was measured of one training after one epoch.

        Args:
            placement: its text, module name, or value.
            epoch: 1-based.
            seed: from 0.

        Raises:
            InputError: the placement does not fit, or there is no such epoch or seed; also for a
                training that had failed by then.
        """
        text = placement.text if isinstance(placement, Placement) else placement
        fitting = resolve_placement(self.spec.space.backbone, text)
        row = self.row_of.get(self.spec.space.canonical(fitting).bits)
        if row is None or fitting.dropped_norm != "keep":
            raise InputError(f"placement {text!r} is not in table {self.spec.name}")
        for name, value, low, high in (
            ("epoch", epoch, 1, self.spec.recipe.epochs),
            ("seed", seed, 0, self.spec.seeds - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} is {value}; table {self.spec.name} has {low} to {high}")
        found = {name: float(self.metrics[name][row, seed, epoch - 1]) for name in self.metrics}
        if not np.isfinite(list(found.values())).all():
            raise InputError(
                f"table {self.spec.name} has no epoch {epoch} of {text!r} with seed {seed}: that "
                "training is missing or failed; use another seed"
            )
        return {**found, "seconds": float(self.seconds[row, seed])}


@cache
def load(name: str = "plain-12") -> Table:
    """Read a table that is shipped.

    Raises:
        InputError: there is no table of this name, or it is not built.
    """
    if name not in SPECS:
        raise InputError(f"table {name!r} is unknown; use one of {', '.join(SPECS)}")
    spec = SPECS[name]
    if not spec.path.exists():
        raise InputError(
            f"table {name!r} is not built; run python -m benchmarks.relu_bench.build {name}"
        )
    with np.load(spec.path, allow_pickle=False) as file:
        metrics = {metric: file[metric].astype(np.float64) for metric in spec.metrics}
        return Table(spec=spec, metrics=metrics, seconds=file["seconds"].astype(np.float64))


def query(placement: Placement | str, epoch: int, seed: int) -> dict[str, float]:
    """`Table.query` of the main table, plain-12."""
    return load().query(placement, epoch, seed)
