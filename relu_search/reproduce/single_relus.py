"""Influence of a single ReLU, by depth and by position in its block (paper, Section V-C)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from relu_search.analysis.leaderboard import rows_of
from relu_search.reproduce.paper_experiments import ReproduceSettings
from search_spaces import Backbone, Site

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-9
"""Percentage points: differences that vary by less are equal but for rounding."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """Change of test accuracy, in percentage points, when one ReLU is dropped.

    Attributes:
        backbone: name of the backbone.
        site: path of the ReLU, such as `blocks.3.relu1`.
        block, position: number of its block and its position in the block, both 1-based.
        n: number of seeds.
        difference: mean of dropped minus paired, paired by seed.
        low, high: 95 % t interval of the difference; a point if the difference does not vary.
        noise: expected absolute difference if the ReLU had no influence and only the seeds
            differed: std / sqrt(n) * sqrt(2 / pi).
    """

    backbone: str
    site: str
    block: int
    position: int
    n: int
    difference: float
    low: float
    high: float
    noise: float


def influences(settings: ReproduceSettings, runs: pd.DataFrame) -> list[Influence]:
    """The influence of every ReLU that was dropped alone, in the order of the network.

    Args:
        runs: `runs.csv`.
    """
    found = []
    for data, backbone in settings.networks:
        chosen = runs[(runs["data"] == data) & (runs["backbone"] == backbone.name)]
        scores: dict[str, dict[int, float]] = {}
        for row in rows_of(chosen):
            if row["state"] != "FAIL":
                scores.setdefault(row["module"], {})[row["seed"]] = 100 * row["test_accuracy"]
        paired = scores.get("paired", {})
        for site, position in _positions(backbone):
            alone = scores.get(site.name, {})
            seeds = sorted(alone.keys() & paired.keys())
            if len(seeds) < 2:
                continue
            values = np.array([alone[seed] - paired[seed] for seed in seeds])
            error = float(values.std(ddof=1)) / math.sqrt(len(seeds))
            mean, low, high = _mean_interval(values)
            found.append(
                Influence(
                    backbone=backbone.name,
                    site=site.name,
                    block=site.block + 1,
                    position=position,
                    n=len(seeds),
                    difference=mean,
                    low=low,
                    high=high,
                    noise=error * math.sqrt(2 / math.pi),
                )
            )
    return found


def influence_lines(found: Sequence[Influence]) -> list[str]:
    """Mean absolute influence by depth and by position, and what seed noise alone would give."""
    lines = []
    groups: dict[str, list[Influence]] = {}
    for item in found:
        groups.setdefault(f"{item.backbone}, all ReLUs", []).append(item)
    for item in found:
        key = f"{item.backbone}, ReLU {item.position} of its block"
        groups.setdefault(key, []).append(item)
    for name, group in groups.items():
        size = float(np.mean([abs(item.difference) for item in group]))
        noise = float(np.mean([item.noise for item in group]))
        lines.append(
            f"{name}: mean |influence| {size:.2f} points over {len(group)} sites; seed noise alone "
            f"would give {noise:.2f}" + ("" if size > 2 * noise else " (not resolved)")
        )
    return lines


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % t interval of the mean of at least two values."""
    mean = float(values.mean())
    if np.ptp(values) < _ROUNDING:
        return mean, mean, mean
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return mean, float(interval.low), float(interval.high)


def _positions(backbone: Backbone) -> list[tuple[Site, int]]:
    """Every site with its 1-based position in its block."""
    seen: dict[int, int] = {}
    pairs = []
    for site in backbone.sites:
        seen[site.block] = seen.get(site.block, 0) + 1
        pairs.append((site, seen[site.block]))
    return pairs
