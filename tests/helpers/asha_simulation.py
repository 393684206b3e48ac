"""Recorded curves, and ASHA written out anew as the paper defines it, as an oracle for Ray's."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

EPOCHS = 9


def curve(seed: int) -> list[float]:
    """The recorded accuracies of a trial, without ties."""
    rng = random.Random(seed)
    level = rng.uniform(0.2, 0.8)
    return [level + rng.uniform(-0.1, 0.1) for _ in range(EPOCHS)]


def percentile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def asha(
    curves: Sequence[Sequence[float]],
    *,
    grace: int,
    factor: int,
    protected: Sequence[int] = (),
    sign: int = 1,
    rungs: dict[int, list[float]] | None = None,
) -> list[int]:
    """Epochs that sequential trials reach: stopped at a rung if worse than the best 1/factor."""
    rungs = {} if rungs is None else rungs
    milestones = [m for k in range(9) if (m := grace * factor**k) < EPOCHS]
    lengths = []
    for number, values in enumerate(curves):
        reached = EPOCHS
        for milestone in milestones:
            value = sign * values[milestone - 1]
            earlier = rungs.setdefault(milestone, [])
            is_bad = bool(earlier) and value < percentile(earlier, 1 - 1 / factor)
            earlier.append(value)
            if is_bad and number not in protected:
                reached = milestone
                break
        lengths.append(reached)
    return lengths
