"""The time of a captured training step, by precision and size of the pack."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.gpu_speed.scale import Scale
from benchmarks.gpu_speed.ways import Way, warm_epoch
from benchmarks.speed.colour_images import colour_images
from benchmarks.speed.rows import Row, seconds_of
from trials.training.spec import TrialSpec

_ROUNDS = 3


def step_rows(device: str, scale: Scale) -> Iterator[Row]:
    """Microseconds of a step for each candidate, from whole epochs."""
    backbone, images = next(iter(scale.images)), scale.step_images
    data = colour_images(images)
    for precision, members in scale.steps:
        way = Way(captured=True, precision=precision)
        spec = TrialSpec(backbone=backbone, placement="paired", recipe=way.recipe)
        epoch = warm_epoch(spec, data, device, members)
        steps = math.ceil(images / spec.recipe.batch_size) * members
        seconds = sorted(seconds_of(epoch) / steps for _ in range(_ROUNDS))
        yield Row(
            section="A captured step, batch 64: microseconds for each candidate",
            what=f"{backbone}, {precision}, "
            + (f"a pack of {members}" if members > 1 else "no pack"),
            ours=f"{1e6 * seconds[_ROUNDS // 2]:,.0f}",
            n=_ROUNDS,
        )
