"""Limits on the ReLUs kept, as users write them: a ratio `2:1`, a share `60%`."""

from __future__ import annotations

import math
import re

from search_spaces import Backbone, InputError


def relus_at_ratio(backbone: Backbone, ratio: str) -> int:
    """ReLUs kept in the blocks at a ratio `N:M` of convolutions to ReLUs.

    Raises:
        InputError: not a ratio, or one that this backbone cannot have exactly.
    """
    parts = ratio.split(":")
    if len(parts) != 2 or not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InputError(f"ratio {ratio!r:.60} is no N:M; write for example 2:1")
    convs, relus = (int(part) for part in parts)
    sites = len(backbone.sites)
    if convs == 0 or backbone.convs * relus % convs or backbone.convs * relus // convs > sites:
        near = backbone.convs * relus / convs if convs else 0
        raise InputError(
            f"ratio {ratio} is impossible: {backbone.name} has {backbone.convs} convolutions and "
            f"{sites} ReLU sites in its blocks, and {near:.4g} ReLUs are not a whole number of "
            "them; give --min-relus and --max-relus instead"
        )
    return backbone.convs * relus // convs


def count_of(name: str, text: str, sites: int) -> int:
    """A limit on ReLUs, written as a number or as a share of all sites (rounded down)."""
    number, percent, rest = text.strip().partition("%")
    if (
        rest
        or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number)
        or ("." in number and not percent)
    ):
        raise InputError(f"{name} is {text!r:.60}; write a whole number, or a share such as 60%")
    return math.floor(sites * float(number) / 100) if percent else int(number)
