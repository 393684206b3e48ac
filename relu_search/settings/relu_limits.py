"""Limits on the ReLUs kept, as users write them: a ratio `2:1`, a share `60%`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from relu_search.settings.search_options import SearchOptions
from search_spaces import Architecture, InputError, module_placement


def relus_at_ratio(backbone: Architecture, ratio: str) -> int:
    """ReLUs kept in the blocks at a ratio `N:M` of convolutions to ReLUs.

    Where no number of ReLUs gives exactly this ratio, the hand-designed module of this name
    decides, if the backbone has it: `3:1` keeps 2 ReLUs of the 7 sites of plain-9.

    Raises:
        InputError: not a ratio, or one that this backbone has neither exactly nor as a module.
    """
    parts = ratio.split(":")
    if len(parts) != 2 or not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InputError(f"ratio {ratio!r:.60} is no N:M; write for example 2:1")
    convs, relus = (int(part) for part in parts)
    sites = len(backbone.sites)
    if convs and backbone.convs * relus % convs == 0 and backbone.convs * relus // convs <= sites:
        return backbone.convs * relus // convs
    try:
        return module_placement(backbone, ratio).kept
    except InputError as error:
        near = backbone.convs * relus / convs if convs else 0
        raise InputError(
            f"ratio {ratio} is impossible: {backbone.name} has {backbone.convs} convolutions and "
            f"{sites} ReLU sites in its blocks, and {near:.4g} ReLUs are not a whole number of "
            "them; give --min-relus and --max-relus instead"
        ) from error


def limits_of(typed: SearchOptions, network: Architecture) -> tuple[int, int | None]:
    """Fewest and most ReLUs as counts. A ratio is a pair of equal limits."""
    sites = len(network.sites)
    least, most = typed.min_relus, typed.max_relus
    if isinstance(least, str):
        least = least_count(least, sites)
    if isinstance(most, str):
        most = most_count(most, sites)
    if typed.ratio is None:
        return least, most
    count = relus_at_ratio(network, typed.ratio)
    if (least, most) not in ((1, None), (count, count)):
        raise InputError(
            f"ratio {typed.ratio} means {count} ReLUs and excludes other limits; give either the "
            "ratio or the limits"
        )
    return count, count


def least_count(text: str, sites: int) -> int:
    """The option `min_relus`: a number, or a share of all sites, rounded up."""
    return math.ceil(_count("min_relus", text, sites))


def most_count(text: str, sites: int) -> int:
    """The option `max_relus`: a number, or a share of all sites, rounded down."""
    return math.floor(_count("max_relus", text, sites))


def _count(name: str, text: str, sites: int) -> Fraction:
    number, percent, rest = text.strip().partition("%")
    if (
        rest
        or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number)
        or ("." in number and not percent)
    ):
        raise InputError(f"{name} is {text!r:.60}; write a whole number, or a share such as 60%")
    return sites * Fraction(number) / 100 if percent else Fraction(number)
