"""A placement as text: one bar per stage. Every text that draws a placement uses it."""

from __future__ import annotations

from itertools import groupby

from search_spaces.architecture import Architecture
from search_spaces.placement import Placement

KEPT, DROPPED = "█", "░"
KEY = f"{KEPT} ReLU kept, {DROPPED} dropped; one group per block"
"""What the bars mean, for one line of text."""


def stage_bars(backbone: Architecture, placement: Placement) -> list[str]:
    """One bar per stage: a character per ReLU site in forward order, a space between blocks.

    A block that reaches into the next stage has a group in both.

    Raises:
        InputError: the placement does not fit the backbone.
    """
    backbone.check(placement)
    bars: list[list[str]] = [[] for _ in range(1 + max(site.stage for site in backbone.sites))]
    for (stage, _), sites in groupby(backbone.sites, lambda site: (site.stage, site.block)):
        marks = (KEPT if placement.bits[site.index] == "1" else DROPPED for site in sites)
        bars[stage].append("".join(marks))
    return [" ".join(groups) for groups in bars]


def drawing(backbone: Architecture, placement: Placement) -> str:
    """The bars of `stage_bars` below each other, with what they mean.

    Raises:
        InputError: the placement does not fit the backbone.
    """
    bars = enumerate(stage_bars(backbone, placement), start=1)
    return "\n".join([*(f"stage {stage}  {bar}" for stage, bar in bars), KEY])
