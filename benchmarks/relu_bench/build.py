"""Train every placement of a table, and pack the results into the file that is shipped.

```bash
python -m benchmarks.relu_bench.build                 # plain-12: about 65 minutes on one core
python -m benchmarks.relu_bench.build preresnet-8
```

Each training is one line of `out/relu_bench/TABLE.jsonl`, written when it ends. Started again, the
build goes on behind the last line. Seeds are the outer loop, so a build that was stopped has the
same seeds for all placements, but for the last one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks.relu_bench.specs import SPECS, TableSpec
from benchmarks.relu_bench.table import METRICS
from trials import TrainingData, TrialSpec, load_data
from trials.data.augmentation import Normalise
from trials.data.held_out import load_test_split
from trials.data.splits import ImageSet
from trials.training.evaluation import evaluate, on_device
from trials.training.loop import train
from trials.training.metrics import NonFiniteLossError
from trials.training.process import one_thread
from trials.training.spec import untrained_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", default="plain-12", choices=sorted(SPECS))
    parser.add_argument("--work", type=Path, default=Path("out/relu_bench"), help="of the log")
    arguments = parser.parse_args()
    spec = SPECS[arguments.table]
    log = arguments.work / f"{spec.name}.jsonl"
    train_missing(spec, log)
    pack(spec, log)


def train_missing(spec: TableSpec, log: Path) -> None:
    """Train what the log lacks, one line per training."""
    log.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["bits"], row["seed"]) for row in rows_of(log)}
    missing = [
        (placement, seed)
        for seed in range(spec.seeds)
        for placement in spec.placements
        if (placement.bits, seed) not in done
    ]
    data = load_data(
        spec.data, train_limit=spec.train_images, validation_images=spec.validation_images
    )
    test = load_test_split(data)
    with log.open("a") as file:
        for placement, seed in track(missing, description=spec.name):
            row = train_one(spec.trial(placement, seed), data, test)
            file.write(json.dumps({"bits": placement.bits, "seed": seed, **row}) + "\n")
            file.flush()


def train_one(spec: TrialSpec, data: TrainingData, test: ImageSet) -> dict[str, Any]:
    """Metrics after every epoch, seconds of training without the test split, and any failure."""
    normalise = Normalise(data.mean, data.std, data.image_size[1], torch.device("cpu"))
    metrics: dict[str, list[float]] = {name: [] for name in METRICS}
    seconds, failure = 0.0, None
    with one_thread():
        model = untrained_network(spec, data)
        try:
            for epoch in train(model, data, spec.recipe, seed=spec.seed):
                test_loss, test_accuracy = evaluate(
                    model, *on_device(test, "cpu"), normalise, spec.recipe
                )
                known = {**epoch.to_json(), "test_loss": test_loss, "test_accuracy": test_accuracy}
                for name, values in metrics.items():
                    values.append(known[name])
                seconds += epoch.seconds
        except NonFiniteLossError as error:
            failure = str(error)
    return {**metrics, "seconds": seconds, "failure": failure}


def pack(spec: TableSpec, log: Path) -> None:
    """Write the log as the file that is shipped: float32 arrays, NaN where nothing was measured."""
    row_of = {placement.bits: row for row, placement in enumerate(spec.placements)}
    shape = (len(row_of), spec.seeds, spec.recipe.epochs)
    metrics = {name: np.full(shape, np.nan, np.float32) for name in METRICS}
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
