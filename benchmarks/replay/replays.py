"""What the programs that replay searches share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from benchmarks.relu_bench import SyntheticTable, Table
from benchmarks.replay.simulator import Ended
from search_spaces import module_name_of, ratio_text

Result = TypeVar("Result")


def in_processes(
    replayed: Callable[..., Result],
    conditions: Sequence[tuple[Any, ...]],
    *,
    replays: int,
    processes: int,
) -> list[list[Result]]:
    """Replay each condition with the seeds 0, 1, 2, ...

    Args:
        replayed: takes the values of a condition, and a seed.
        conditions: such as a table and a sampler.
        replays: of each condition.
        processes: that work at the same time.

    Returns:
        For each condition, its replays.
    """
    jobs = [(*condition, seed) for condition in conditions for seed in range(replays)]
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(replayed, *zip(*jobs, strict=True), chunksize=2))
    return [found[start : start + replays] for start in range(0, len(found), replays)]


def seed_order(table: Table, seed: int) -> list[int]:
    """The seeds of a table in a random order."""
    return random.Random(seed).sample(range(table.spec.seeds), table.spec.seeds)


def full_length(table: Table | SyntheticTable, ended: Sequence[Ended]) -> list[Ended]:
    """The trials that trained to the last epoch and did not diverge."""
    return [one for one in ended if one.epochs == table.spec.recipe.epochs and not one.failed]


def trial_row(table: Table, number: int, row: int, seed: int) -> dict[str, object]:
    """A row of `trials.csv` of a training of the table."""
    placement = table.spec.placements[row]
    backbone = table.spec.space.backbone
    finals = {name: float(table.final(name)[row, seed]) for name in ("val_loss", "val_accuracy")}
    return {
        "trial": number,
        "state": "COMPLETE",
        "module": module_name_of(backbone, placement),
        "placement": placement.text,
        "ratio": ratio_text(backbone, placement),
        "relus": placement.kept,
        "epochs": table.spec.recipe.epochs,
        **finals,
    }
