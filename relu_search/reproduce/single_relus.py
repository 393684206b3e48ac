"""What a single ReLU does: the paper's Section V-C, by depth and by position in the block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from relu_search.analysis.leaderboard import rows_of
from relu_search.reproduce.experiments import Settings
from search_spaces import Backbone, Site

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What dropping one ReLU changes, in percentage points of test accuracy.

    Attributes:
        backbone: name.
        site: path of the ReLU, such as `blocks.3.relu1`.
        block, position: its block, and its place within the block, both 1-based.
        n: seeds.
        difference: mean of dropped minus paired, paired by seed; low, high: its 95 % t interval.
        noise: the mean absolute difference that seeds alone would give if the ReLU had no
            influence: std / sqrt(n) * sqrt(2 / pi).
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


def influences(settings: Settings, runs: pd.DataFrame) -> list[Influence]:
    """The influence of every ReLU that was dropped alone, by network and depth."""
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
            reach = float(stats.t.ppf(0.975, len(seeds) - 1)) * error
            mean = float(values.mean())
            found.append(
                Influence(
                    backbone=backbone.name,
                    site=site.name,
                    block=site.block + 1,
                    position=position,
                    n=len(seeds),
                    difference=mean,
                    low=mean - reach,
                    high=mean + reach,
                    noise=error * math.sqrt(2 / math.pi),
                )
            )
    return found


def influence_lines(found: Sequence[Influence]) -> list[str]:
    """Mean absolute influence by depth and by position, beside what noise alone would give."""
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


def _positions(backbone: Backbone) -> list[tuple[Site, int]]:
    seen: dict[int, int] = {}
    pairs = []
    for site in backbone.sites:
        seen[site.block] = seen.get(site.block, 0) + 1
        pairs.append((site, seen[site.block]))
    return pairs
