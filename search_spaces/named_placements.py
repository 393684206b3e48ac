"""The named modules: hand-designed placements of the paper and its relatives.

A name is accepted wherever a placement is. `N:M` means N convolutions share M ReLUs.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction

from search_spaces.backbones import Backbone, Site
from search_spaces.errors import InputError
from search_spaces.placement import DROP_NORM, DroppedNorm, Placement, split_norms

# One pattern over the ReLU sites of a block, repeated in every block: the paper's modules.
_BLOCK_PATTERNS: dict[str, dict[str, str]] = {
    "resnet": {"2:1/first": "01", "2:1/second": "10"},  # Figure 3
    "preresnet": {"2:1/first": "01", "2:1/second": "10"},  # Figure 4; Table II uses the first
    "preresnet-bottleneck": {  # Figure 5 and Section V-C: the 1st, 2nd or 3rd ReLU is dropped
        "3:2/type1": "011",
        "3:2/type2": "101",
        "3:2/type3": "110",
    },
    # Table III. Which branch loses the ReLU does not matter: exchanged branches are one function.
    "dfn": {"4:3/type1": "1011", "4:3/type2": "0111"},
}

# A bare ratio means the variant that the paper's tables use, or the better one of its figures.
_ALIASES = {
    "resnet": {"2:1": "2:1/first"},
    "preresnet": {"2:1": "2:1/first"},
    "preresnet-bottleneck": {"3:2": "3:2/type1"},
    "dfn": {"4:3": "4:3/type1"},
}

# PyramidNet (arXiv:1610.02915): the first ReLU of a block dropped and a BN at the block's end.
_PYRAMIDNET = {"preresnet": "2:1/first", "preresnet-bottleneck": "3:2/type1"}

_ERASE_RELU = "eraserelu:"

_LOOKS_LIKE_BITS = re.compile(r"\s*[01]+\s*([^:01]|$)")  # bits first, and no ratio such as 1:1


def module_names(backbone: Backbone) -> tuple[str, ...]:
    """Names of the hand-designed modules of a backbone; `N:M` of plain nets shown as 2:1, 3:2."""
    if _is_plain(backbone):
        return ("paired", "2:1", "3:2", "linear")
    names = ("paired", *_BLOCK_PATTERNS[backbone.family])
    pyramid = ("pyramidnet",) if backbone.family in _PYRAMIDNET else ()
    return (*names, *pyramid, "linear")


def reference_modules(
    backbone: Backbone, dropped_norm: DroppedNorm = "keep"
) -> dict[str, Placement]:
    """What every search trains besides its proposals: paired, the paper's modules, all-linear."""
    names = [n for n in module_names(backbone) if n not in ("3:2", "pyramidnet")]
    placements = [resolve_placement(backbone, name, dropped_norm) for name in names]
    return {module_name_of(backbone, placement): placement for placement in placements}


def module_placement(backbone: Backbone, name: str) -> Placement:
    """The placement that a module name stands for on this backbone.

    Raises:
        InputError: the backbone has no module of that name.
    """
    count = len(backbone.sites)
    if name == "paired":
        return Placement("1" * count)
    if name == "linear":
        return Placement("0" * count)
    if name.startswith(_ERASE_RELU):
        return _erase_relu(backbone, name)
    if name == "pyramidnet" and backbone.family in _PYRAMIDNET:
        bits = module_placement(backbone, _PYRAMIDNET[backbone.family]).bits
        return Placement(bits, "end")
    if _is_plain(backbone):
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", name)
        if match and 1 <= int(match[2]) <= int(match[1]) <= count:
            convs, dropped = int(match[1]), int(match[1]) - int(match[2])
            return Placement("".join("01"[i % convs >= dropped] for i in range(count)))
    else:
        name = _ALIASES[backbone.family].get(name, name)
        if name in _BLOCK_PATTERNS[backbone.family]:
            return spread_pattern(backbone, _BLOCK_PATTERNS[backbone.family][name])
    raise InputError(
        f"module {name[:60]!r} does not exist for {backbone.name}; use one of "
        f"{', '.join(module_names(backbone))}"
        + (f", any N:M with {count} >= N >= M >= 1" if _is_plain(backbone) else "")
        + ", eraserelu:P with a proportion P, or bits such as 01*27"
    )


def resolve_placement(
    backbone: Backbone,
    text: str | Placement | None,
    dropped_norm: DroppedNorm = "keep",
) -> Placement:
    """A placement from its text, a module name, or None (paired); checked against the backbone.

    Args:
        text: bits or a module name; both may end in `@end-norm` and `@drop-norm`.
        dropped_norm: `drop` has the effect of the suffix `@drop-norm`.

    Raises:
        InputError: malformed text, unknown module, or a wrong number of sites.
    """
    if isinstance(text, Placement):
        placement = text
    elif not isinstance(text, str | None):
        raise InputError(f"placement is {text!r:.80}; it must be a text such as '01*27'")
    elif text is not None and _LOOKS_LIKE_BITS.match(text):
        placement = Placement.parse(text)
    else:
        name, end, drop = split_norms("paired" if text is None else text)
        placement = module_placement(backbone, name.strip())
        if end == "end":
            placement = replace(placement, block_norm=end)
        placement = replace(placement, dropped_norm=drop)
    if dropped_norm != "keep":
        placement = replace(placement, dropped_norm=dropped_norm)
    return backbone.effective(placement)


def module_name_of(backbone: Backbone, placement: Placement) -> str:
    """The module name of a placement, or an empty string when it has none."""
    canonical = backbone.canonical(replace(placement, dropped_norm="keep"))
    for name in module_names(backbone):
        if backbone.canonical(module_placement(backbone, name)) == canonical:
            dropped = backbone.effective(placement).dropped_norm == "drop"
            return name + (DROP_NORM if dropped else "")
    return ""


def spread_pattern(backbone: Backbone, pattern: str) -> Placement:
    """The placement that repeats one block pattern over the whole net."""
    return Placement(
        "".join(
            "1" if any(pattern[p] == "1" for p in site.positions) else "0"
            for site in backbone.sites
        )
    )


def ratio_text(backbone: Backbone, placement: Placement) -> str:
    """Convolutions of the blocks : ReLUs kept in them, reduced; `108:54` is `2:1`."""
    if placement.kept == 0:
        return "1:0"
    ratio = Fraction(backbone.convs, placement.kept)
    return f"{ratio.numerator}:{ratio.denominator}"


def _erase_relu(backbone: Backbone, name: str) -> Placement:
    """EraseReLU (arXiv:1709.07634): the last ReLU of a proportion of the modules is dropped.

    A module is a block, in plain nets a pair of convolutions; in merge-and-run blocks its last
    ReLU is the one after the sum, in both branches. The source leaves open which modules; here
    they are spread evenly, the last one included.
    """
    text = name.removeprefix(_ERASE_RELU)
    share = Fraction(text) if re.fullmatch(r"[01]?\.?[0-9]{1,9}", text) else Fraction(0)
    modules = [site.block for site in backbone.sites if _is_last_of_block(backbone, site)]
    blocks = list(dict.fromkeys(modules))  # an odd convolution at a plain net's end is no pair
    count, total = int(len(blocks) * share), len(blocks)
    if not (0 < share <= 1 and count):
        raise InputError(
            f"module {name[:60]!r} drops no ReLU of {total} modules; write eraserelu:P with a "
            f"proportion P from {math.ceil(1000 / total) / 1000:g} to 1, such as eraserelu:0.5"
        )
    erased = {b for i, b in enumerate(blocks) if (i + 1) * count // total > i * count // total}
    kept = [
        site.block not in erased or not _is_last_of_block(backbone, site) for site in backbone.sites
    ]
    return Placement("".join("1" if k else "0" for k in kept))


def _is_last_of_block(backbone: Backbone, site: Site) -> bool:
    if backbone.family == "dfn":
        return site.after_sum
    return site.positions == (backbone.spec.pattern_length - 1,)


def _is_plain(backbone: Backbone) -> bool:
    return backbone.spec.convs_per_block == 1
