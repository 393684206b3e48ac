"""Table I of the paper, scaled down: plain networks on colour images, packed and captured.

The protocol is the paper's: its schedule over fewer epochs, all chosen training images, the test
split after the last epoch. Fewer images, epochs and seeds than in the paper are used, so only the
sign and the rough size of the difference can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, stdev

from benchmarks.speed.rows import Row
from trials.data.held_out import load_paper_protocol
from trials.data.image_sets import TrainingData
from trials.fast.packing import PackedTraining
from trials.training.recipe import Precision, Recipe
from trials.training.spec import TrialSpec

MODULES = ("paired", "2:1")
MEASURED = 3  # epochs from which the time is told
PUBLISHED = {38: (64.04, 64.25), 62: (56.88, 60.86), 84: (44.16, 55.98)}
"""Depth -> the paper's test accuracies in % on CIFAR-100, paired and 2:1, 400 epochs (Table I)."""


def table1_rows(
    device: str,
    *,
    source: str,
    seconds: float,
    depths: tuple[int, ...] = tuple(PUBLISHED),
    images: int = 10_000,
    seeds: int = 4,
    precision: Precision = "tf32",
) -> Iterator[Row]:
    """Test accuracy of paired and 2:1 by depth, at as many epochs as fit into the time.

    Args:
        source: data set, such as `cifar10` or `parquet:DIR`.
        seconds: of the whole experiment. The time of an epoch is measured at the first depth.
        images: training images, a stratified draw.
    """
    started = time.perf_counter()
    data = load_paper_protocol(source, train_limit=images)
    recipe = replace(Recipe.named("paper", epochs=2 + MEASURED), precision=precision)
    short = _pack(data, device, depths[0], recipe, seeds)
    for _ in range(2):
        short.epoch()
    first = time.perf_counter()
    for _ in range(MEASURED):
        short.epoch()
    of_all = (time.perf_counter() - first) / MEASURED * sum(depths) / depths[0]
    left = seconds - (time.perf_counter() - started)
    epochs = max(8, int(0.75 * left / of_all))  # a run that is cut off has no last depth
    recipe = replace(recipe, epochs=epochs)
    for depth in depths:
        training = _pack(data, device, depth, recipe, seeds)
        for _ in range(epochs):
            last = training.epoch()
        scores = [
            [
                100 * metrics.val_accuracy
                for number, metrics in last.items()
                if number % len(MODULES) == place and not isinstance(metrics, str)
            ]
            for place in range(len(MODULES))
        ]
        yield Row(
            section="Table I, scaled down: test accuracy in % (ours: 2:1; peer: paired)",
            what=f"plain-{depth}, {images:,} images, {epochs} epochs, {precision}; "
            f"the paper: {PUBLISHED[depth][1]:g} and {PUBLISHED[depth][0]:g}"
            if depth in PUBLISHED
            else f"plain-{depth}, {images:,} images, {epochs} epochs, {precision}",
            peer="paired",
            ours=_text(scores[1]),
            theirs=_text(scores[0]),
            n=min(map(len, scores)),
        )


def _pack(
    data: TrainingData, device: str, depth: int, recipe: Recipe, seeds: int
) -> PackedTraining:
    """All modules with all seeds; even numbers are the first module's."""
    training = PackedTraining(data, device, captured=True)
    for seed in range(seeds):
        for place, module in enumerate(MODULES):
            spec = TrialSpec(
                backbone=f"plain-{depth}",
                placement=module,
                seed=seed,
                recipe=recipe,
            )
            training.join(len(MODULES) * seed + place, spec)
    return training


def _text(scores: list[float]) -> str:
    spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{mean(scores):.2f}{spread}" if scores else "failed"
