"""Speed on a GPU, compared with a usual loop and with the lower bound: the rows of `gpu_speed.md`.

```bash
python -m benchmarks.gpu_speed                       # all sections; writes the page
python -m benchmarks.gpu_speed epoch floor --json -  # some sections, as JSON
```

It needs neither Ray nor Optuna.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from benchmarks.gpu_speed.kernels import floor_rows
from benchmarks.gpu_speed.ways import WAYS, Way
from benchmarks.speed.colour_images import PAD, colour_images, without_padding
from benchmarks.speed.rows import Row, run_sections, seconds_of
from benchmarks.speed.usual_loop import UsualTraining, usual_training
from relu_search.export.timing import time_side_by_side
from trials.data.splits import TrainingData
from trials.fast.packing import PackedTraining
from trials.training.loop import train
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec, untrained_network

GOALS = {"plain-20": (8.0, 30.0), "preresnet-110": (3.0, 8.0)}
"""Times the usual loop: one candidate; candidates per hour."""
PEER = "the usual loop: PIL, 2 workers, NCHW, fp32"
SHARING = ((1, 1), (2, 1), (4, 1), (1, 4), (1, 8), (1, 16), (4, 8))
"""Processes on the device, and candidates in the pack of each."""
_EPOCHS = 3
_UNTIMED = 2  # record, and warm up


def epoch_rows(
    device: str = "cuda",
    *,
    images: int = 6400,
    rounds: int = 5,
    backbones: tuple[str, ...] = tuple(GOALS),
    ways: tuple[Way, ...] = WAYS,
) -> Iterator[Row]:
    """One epoch of one candidate: every way of training against the usual loop."""
    data = colour_images(images)
    for backbone in backbones:
        spec = TrialSpec(backbone=backbone, placement="paired", recipe=ways[0].recipe)
        with _usual(spec, data, device) as peer:
            for way in ways:
                ours = _epochs(replace(spec, recipe=way.recipe), data, way, device)
                found = time_side_by_side(
                    {"ours": partial(next, ours), "usual": peer.epoch}, rounds=rounds
                )
                yield Row.of_timings(
                    f"Training epoch of one candidate, {images:,} images, batch 64",
                    f"{backbone}, {way}",
                    PEER,
                    found["ours"],
                    found["usual"],
                    GOALS.get(backbone, (None,))[0],
                )


def _usual(
    spec: TrialSpec, data: TrainingData, device: str
) -> AbstractContextManager[UsualTraining]:
    return usual_training(
        untrained_network(spec, data),
        without_padding(data),
        data.train.labels,
        pad=PAD,
        batch_size=spec.recipe.batch_size,
        device=device,
    )


def _epochs(spec: TrialSpec, data: TrainingData, way: Way, device: str) -> Iterator[EpochMetrics]:
    model = untrained_network(spec, data)
    return train(model, data, spec.recipe, seed=0, device=device, epoch_by=way.epoch_by(spec))


def candidate_rows(
    device: str = "cuda",
    *,
    images: int = 6400,
    backbones: tuple[str, ...] = tuple(GOALS),
    sharing: tuple[tuple[int, int], ...] = SHARING,
) -> Iterator[Row]:
    """Candidate epochs per hour: several processes on one device, one candidate or a pack each."""
    data = colour_images(images)
    for backbone in backbones:
        spec = TrialSpec(backbone=backbone, placement="paired", recipe=Way().recipe)
        with _usual(spec, data, device) as peer:
            peer.epoch()
            usual = [seconds_of(peer.epoch) for _ in range(_EPOCHS)]
        theirs = sorted(usual)[len(usual) // 2]
        goal = GOALS.get(backbone, (None, None))[1]
        for processes, pack in sharing:
            ours = _shared_seconds(spec, images, device, processes, pack) / (processes * pack)
            yield Row(
                section=f"Candidate epochs per hour, {images:,} images, batch 64, captured, fp32",
                what=f"{backbone}, {processes} processes, {pack} in each",
                peer=PEER,
                ours=f"{3600 / ours:,.0f}",
                theirs=f"{3600 / theirs:,.0f}",
                ratio=theirs / ours,
                low=min(usual) / ours,
                high=max(usual) / ours,
                n=_EPOCHS,
                goal="" if goal is None else f"≥ {goal:g}x",
                reached=None if goal is None else theirs / ours >= goal,
            )


def _shared_seconds(spec: TrialSpec, images: int, device: str, processes: int, pack: int) -> float:
    """Seconds of an epoch when several processes train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    workers = [
        context.Process(target=_train_beside_others, args=(barrier, spec, images, device, pack))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    seconds = seconds_of(barrier.wait)
    for worker in workers:
        worker.join()
    return seconds / _EPOCHS


def _train_beside_others(
    barrier: Barrier, spec: TrialSpec, images: int, device: str, pack: int
) -> None:
    try:
        data = colour_images(images)
        if pack == 1:
            epochs = _epochs(spec, data, Way(captured=True), device)
            epoch: Callable[[], object] = partial(next, epochs)
        else:
            training = PackedTraining(data, device, captured=True)
            for number in range(pack):
                training.join(number, replace(spec, seed=number))
            epoch = training.epoch
        for _ in range(_UNTIMED):
            epoch()
        barrier.wait()
        for _ in range(_EPOCHS):
            epoch()
        barrier.wait()
    except BaseException:
        barrier.abort()
        raise


def sections() -> dict[str, Callable[[], Iterator[Row]]]:
    return {"epoch": epoch_rows, "candidates": candidate_rows, "floor": floor_rows}


def main() -> None:
    page = Path(__file__).parents[1] / "gpu_speed.md"
    run_sections(__doc__ or "", page, sections(), check=_require_cuda)


def _require_cuda() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; use benchmarks.speed to measure on the CPU")


if __name__ == "__main__":
    main()
