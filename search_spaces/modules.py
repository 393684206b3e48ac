"""The named modules: hand-designed placements of the paper and its relatives.

A name is accepted wherever a placement is. `N:M` means N convolutions share M ReLUs.
"""

from __future__ import annotations

import re
from fractions import Fraction

from search_spaces.backbones import Backbone
from search_spaces.errors import InputError
from search_spaces.placement import Placement

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

_LOOKS_LIKE_BITS = re.compile(r"\s*[01]+\s*([^:01]|$)")  # bits first, and no ratio such as 1:1


def module_names(backbone: Backbone) -> tuple[str, ...]:
    """Names of the hand-designed modules of a backbone; `N:M` of plain nets shown as 2:1, 3:2."""
    if _is_plain(backbone):
        return ("paired", "2:1", "3:2", "linear")
    names = ("paired", *_BLOCK_PATTERNS[backbone.family])
    pyramid = ("pyramidnet",) if backbone.family in _PYRAMIDNET else ()
    return (*names, *pyramid, "linear")


def reference_modules(backbone: Backbone) -> dict[str, Placement]:
    """What every search trains besides its proposals: paired, the paper's modules, all-linear."""
    names = [n for n in module_names(backbone) if n not in ("3:2", "pyramidnet")]
    return {name: module_placement(backbone, name) for name in names}


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
        + ", or bits such as 01*27"
    )


def resolve_placement(backbone: Backbone, text: str | Placement | None) -> Placement:
    """A placement from its text, a module name, or None (paired); checked against the backbone.

    Raises:
        InputError: malformed text, unknown module, or a wrong number of sites.
    """
    if text is None:
        return module_placement(backbone, "paired")
    if isinstance(text, Placement):
        placement = text
    elif _LOOKS_LIKE_BITS.match(text):
        placement = Placement.parse(text)
    else:
        placement = module_placement(backbone, text.strip())
    backbone.check(placement)
    return placement


def module_name_of(backbone: Backbone, placement: Placement) -> str:
    """The module name of a placement, or an empty string when it has none."""
    canonical = backbone.canonical(placement)
    for name in module_names(backbone):
        if backbone.canonical(module_placement(backbone, name)) == canonical:
            return name
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


def _is_plain(backbone: Backbone) -> bool:
    return backbone.spec.convs_per_block == 1
