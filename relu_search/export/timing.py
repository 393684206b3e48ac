"""Times several calls in turn, so that a change of the machine's speed affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

WARM_UP = 3
"""Number of calls before the measurement."""
_SHORTEST_SAMPLE = 0.002
"""Seconds. Shorter calls are repeated within a sample, because the clock is not exact enough."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: median and quartiles of `n` samples."""

    median_ms: float
    q25_ms: float
    q75_ms: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_faster_than(self, other: Timing) -> bool:
        """Whether the interquartile ranges do not overlap and this one is lower."""
        return self.q75_ms < other.q25_ms


def time_side_by_side(
    calls: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, Timing]:
    """Time each call once per round; every second round has the reverse order.

    Args:
        calls: name -> call.
        rounds: number of samples of each call.
    """
    repeats = {}
    for name, call in calls.items():
        for _ in range(WARM_UP):
            call()
        repeats[name] = max(1, round(_SHORTEST_SAMPLE / max(_seconds(call, 1), 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[:: 1 if i % 2 == 0 else -1]:
            samples[name].append(_seconds(calls[name], repeats[name]))
    return {name: _summary(values) for name, values in samples.items()}


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def _summary(seconds: list[float]) -> Timing:
    low, _, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    digits = 4
    return Timing(
        round(median(seconds) * 1e3, digits),
        round(low * 1e3, digits),
        round(high * 1e3, digits),
        len(seconds),
    )
