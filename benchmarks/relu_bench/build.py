"""Train every placement of a table, and pack the results into the file that is shipped.

```bash
python -m benchmarks.relu_bench.build                 # plain-12: about 65 minutes on one core
python -m benchmarks.relu_bench.build preresnet-8
python -m benchmarks.relu_bench.build plain-20-colour --data parquet:DIR --device cuda --pack 64
```

Each training is one line of `out/relu_bench/TABLE.jsonl`, written when it ends. If the build is
started again, it continues after the last line. Seeds are the outer loop, so a build that was
stopped has the same seeds for all placements, but for the last one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.relu_bench.images import images_of
from benchmarks.relu_bench.specs import SPECS, TableSpec
from benchmarks.relu_bench.training import train_one, train_pack
from search_spaces import Placement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", default="plain-12", choices=sorted(SPECS))
    parser.add_argument("--work", type=Path, default=Path("out/relu_bench"), help="of the log")
    parser.add_argument("--data", help="the table's data set by another name, as parquet:DIR")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--pack", type=int, default=1, help="trainings at once, as one network")
    parser.add_argument("--minutes", type=float, help="start no training after this time")
    arguments = parser.parse_args()
    spec = SPECS[arguments.table]
    log = arguments.work / f"{spec.name}.jsonl"
    train_missing(
        spec,
        log,
        source=arguments.data,
        device=arguments.device,
        pack_size=arguments.pack,
        minutes=arguments.minutes,
    )
    pack(spec, log)


def train_missing(
    spec: TableSpec,
    log: Path,
    runs: Sequence[tuple[Placement, int]] | None = None,
    *,
    source: str | None = None,
    device: str = "cpu",
    pack_size: int = 1,
    minutes: float | None = None,
) -> None:
    """Train what the log lacks, one line per training.

    Args:
        runs: placements and seeds; None: all of the table, one seed after the other.
        source: as for `images_of`.
        pack_size: trainings at once; 1: each one by the reference code.
        minutes: no training is started after this time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["bits"], row["seed"]) for row in rows_of(log)}
    if runs is None:
        runs = [(placement, seed) for seed in range(spec.seeds) for placement in spec.placements]
    missing = [run for run in runs if (run[0].bits, run[1]) not in done]
    data, test = images_of(spec, source)
    started = time.perf_counter()
    with log.open("a") as file, Progress() as progress:
        task = progress.add_task(spec.name, total=len(missing))
        for first in range(0, len(missing), pack_size):
            if minutes is not None and time.perf_counter() - started > 60 * minutes:
                return
            chosen = missing[first : first + pack_size]
            specs = [spec.trial(placement, seed) for placement, seed in chosen]
            if pack_size == 1:
                rows = [train_one(specs[0], data, test, spec.metrics, device)]
            else:
                rows = train_pack(specs, data, test, spec.metrics, device)
            for (placement, seed), row in zip(chosen, rows, strict=True):
                file.write(json.dumps({"bits": placement.bits, "seed": seed, **row}) + "\n")
            file.flush()
            progress.advance(task, len(chosen))


def pack(spec: TableSpec, log: Path) -> None:
    """Write the log as the file that is shipped: float32 arrays, NaN where nothing was measured."""
    row_of = {placement.bits: row for row, placement in enumerate(spec.placements)}
    shape = (len(row_of), spec.seeds, spec.recipe.epochs)
    metrics = {name: np.full(shape, np.nan, np.float32) for name in spec.metrics}
    seconds = np.full(shape[:2], np.nan, np.float32)
    for row in rows_of(log):
        where = row_of[row["bits"]], row["seed"]
        seconds[where] = row["seconds"]
        for name, array in metrics.items():
            array[where][: len(row[name])] = np.round(row[name], 4)
    np.savez_compressed(spec.path, allow_pickle=False, seconds=seconds, **metrics)


def rows_of(log: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log; a last line that was cut off is left out, and cut off."""
    if not log.exists():
        return
    text = log.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole)
    yield from map(json.loads, whole.splitlines())


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s")
