"""Numbers as users write and read them: a ratio `2:1`, a share `60%` of the ReLUs, a time `2h`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from search_spaces import Architecture, InputError, module_placement
from trials.data.image_sets import Statistics
from trials.training.recipe import PRETRAINED

BY_DATA = "data"
"""Value of the option `normalise`: by the statistics of the training images."""

_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_PATTERN = "".join(rf"(?:(?P<{unit}>\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit in _SECONDS)
_LONGEST = 10 * 365  # days


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


def relu_limits(
    backbone: Architecture, least: int | str, most: int | str | None, ratio: str | None
) -> tuple[int, int | None]:
    """Fewest and most ReLUs as counts. A ratio is a pair of equal limits.

    Args:
        least, most: numbers, or shares of all sites, such as `60%`: the least count is rounded up,
            the most down.

    Raises:
        InputError: a limit that cannot be read, or a ratio beside other limits.
    """
    sites = len(backbone.sites)
    if isinstance(least, str):
        least = least_count(least, sites)
    if isinstance(most, str):
        most = most_count(most, sites)
    if ratio is None:
        return least, most
    count = relus_at_ratio(backbone, ratio)
    if (least, most) not in ((1, None), (count, count)):
        raise InputError(
            f"ratio {ratio} means {count} ReLUs and excludes other limits; give either the "
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


def seconds_of(text: str, name: str) -> float:
    """The seconds of a duration such as `2h`, `90m`, `1.5h` or `1d12h`.

    Args:
        name: of the option, for the message.

    Raises:
        InputError: another form, less than a second, or more than ten years.
    """
    found = re.fullmatch(_PATTERN, text, re.ASCII)
    parts = {} if found is None else found.groupdict(default="0")
    seconds = sum(float(number) * _SECONDS[unit] for unit, number in parts.items())
    if not 1 <= seconds <= _LONGEST * _SECONDS["d"]:
        raise InputError(
            f"{name} is {text!r:.60}; write a time from 1s to {_LONGEST}d, such as 90m, 2h or 1d12h"
        )
    return seconds


def normalise_text(typed: str, backbone: Architecture) -> str:
    """The option `normalise` as `data` or as numbers; `pretrained` becomes those of the library.

    Raises:
        InputError: it cannot be read, or the library of the backbone does not say its numbers.
    """
    if typed == PRETRAINED:
        from trials.fine_tuning.weights import pretrained_statistics  # loads torch

        parts = pretrained_statistics(backbone)
        return "/".join(",".join(f"{one:.9g}" for one in part) for part in parts)
    if typed != BY_DATA:
        statistics_of(typed)
    return typed


def statistics_of(text: str) -> Statistics:
    """Mean and std per channel, in 0-255, of a text such as `0.485,0.456,0.406/0.229,0.224,0.225`.

    Raises:
        InputError: another form, another number of means than of standard deviations, or numbers
            that are not in 0 to 1.
    """
    try:
        mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    fits = len(mean) == len(std) > 0
    if not fits or not all(0 <= one <= 1 for one in mean) or not all(0 < one <= 1 for one in std):
        raise InputError(
            f"normalise is {text!r:.80}; write data, pretrained, or as many means as standard "
            "deviations in 0 to 1, such as 0.485,0.456,0.406/0.229,0.224,0.225"
        )
    return tuple(255 * one for one in mean), tuple(255 * one for one in std)


def duration_text(seconds: float) -> str:
    """A duration in one unit with at most one decimal: `45 s`, `2.9 min`, `1.5 h`, `3 d`."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds / size < most:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / _SECONDS['d'])} d"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.1f}".removesuffix(".0")


def bytes_text(size: float) -> str:
    """A size with three digits: `12.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def default_grace(epochs: int) -> int:
    """First epoch after which trials may be stopped: an eighth of the epochs, at most 20."""
    return min(-(-epochs // 8), 20)
