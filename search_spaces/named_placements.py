"""The named modules: hand-designed placements of the paper and of related papers.

A name is accepted wherever a placement is. `N:M` means that N convolutions share M ReLUs. The
patterns are in `search_spaces.backbones`.

| family | module | dropped in every block | source |
|---|---|---|---|
| plain, preplain | N:M | the first N - M ReLUs of every N convolutions | Table I (2:1) |
| resnet | 2:1/first, 2:1/second | the first (inner) or second (after the sum) ReLU | Figure 3 |
| preresnet | 2:1/first, 2:1/second | the first or second ReLU | Figure 4; Table II has the first |
| preresnet-bottleneck | 3:2/type1, 2, 3 | the first, second or third ReLU | Figures 7 and 8 |
| dfn | 4:3/type1 | the ReLU after the sum of branch 1 | Table III |
| dfn | 4:3/type2 | the ReLU inside branch 1 | Table III |

The bits of a DFN block are: inside branch 1, after the sum of branch 1, inside branch 2, after the
sum of branch 2. The last block adds both branches and has three bits: inside branch 1, inside
branch 2, after the joint sum. Type 1 keeps the ReLU after the joint sum; type 2 drops the ReLU
inside branch 1 in the last block too. The paper does not say which branch it means: both
choices give the same family of functions, because the branches can be exchanged.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction

from search_spaces.architecture import Architecture
from search_spaces.errors import InputError, require_type
from search_spaces.placement import DROP_NORM, DroppedNorm, Placement, split_norms

_ERASE_RELU = "eraserelu:"

_LOOKS_LIKE_BITS = re.compile(r"\s*[01]+\s*([^:01]|$)")  # bits first, and no ratio such as 1:1


def module_names(backbone: Architecture) -> tuple[str, ...]:
    """Names of the hand-designed modules of a backbone; some networks have any N:M besides.

    Raises:
        InputError: not a `Backbone`.
    """
    _require_backbone(backbone)
    longest = _longest_run(backbone)
    ratios = tuple(name for name, convs in (("2:1", 2), ("3:2", 3)) if longest >= convs)
    names = tuple(backbone.patterns) or ratios
    pyramid = ("pyramidnet",) if backbone.end_norm_module else ()
    return ("paired", *names, *pyramid, "linear")


def reference_modules(
    backbone: Architecture, dropped_norm: DroppedNorm = "keep"
) -> dict[str, Placement]:
    """The placements that every search trains first: paired, the paper's modules, all-linear."""
    names = [n for n in module_names(backbone) if n not in ("3:2", "pyramidnet")]
    placements = [resolve_placement(backbone, name, dropped_norm) for name in names]
    return {module_name_of(backbone, placement): placement for placement in placements}


def module_placement(backbone: Architecture, name: str) -> Placement:
    """The placement of a named module on this backbone.

    Raises:
        InputError: the backbone has no module of that name.
    """
    _require_backbone(backbone)
    require_type("module", name, str, "a text such as '2:1'")
    count = len(backbone.sites)
    if name == "paired":
        return Placement("1" * count)
    if name == "linear":
        return Placement("0" * count)
    if name.startswith(_ERASE_RELU):
        return _erase_relu(backbone, name)
    if name == "pyramidnet" and backbone.end_norm_module:
        bits = module_placement(backbone, backbone.end_norm_module).bits
        return Placement(bits, "end")
    name = backbone.aliases.get(name, name)
    if name in backbone.patterns:
        return spread_pattern(backbone, backbone.patterns[name])
    longest = _longest_run(backbone)
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", name)
    if match and 1 <= int(match[2]) <= int(match[1]) <= longest:
        return _last_of_every(backbone, int(match[1]), int(match[2]))
    raise InputError(
        f"module {name[:60]!r} does not exist for {backbone.name}; use one of "
        f"{', '.join(module_names(backbone))}"
        + (f", any N:M with {longest} >= N >= M >= 1" if longest else "")
        + ", eraserelu:P with a proportion P, or bits such as 01*27"
    )


def resolve_placement(
    backbone: Architecture,
    text: str | Placement | None,
    dropped_norm: DroppedNorm = "keep",
) -> Placement:
    """The placement that a user wrote, checked against the backbone.

    Args:
        text: a `Placement`, bits, a module name, or None for paired. Bits and names may end in
            `@end-norm` and `@drop-norm`.
        dropped_norm: `drop` has the same effect as the suffix `@drop-norm`.

    Raises:
        InputError: malformed text, unknown module, or wrong number of sites.
    """
    _require_backbone(backbone)
    require_type("placement", text, (str, Placement, type(None)), "a text such as '01*27'")
    if isinstance(text, Placement):
        placement = text
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


def module_name_of(backbone: Architecture, placement: Placement) -> str:
    """The module name of a placement, or an empty string if it has none."""
    _require_backbone(backbone)
    require_type("placement", placement, Placement, "a Placement")
    canonical = backbone.canonical(replace(placement, dropped_norm="keep"))
    for name in module_names(backbone):
        if backbone.canonical(module_placement(backbone, name)) == canonical:
            dropped = backbone.effective(placement).dropped_norm == "drop"
            return name + (DROP_NORM if dropped else "")
    return ""


def spread_pattern(backbone: Architecture, pattern: str) -> Placement:
    """The placement that has one pattern in every block."""
    return Placement(
        "".join(
            "1" if any(pattern[p] == "1" for p in site.positions) else "0"
            for site in backbone.sites
        )
    )


def _last_of_every(backbone: Architecture, convs: int, relus: int) -> Placement:
    """Of every `convs` consecutive sites of a run the last `relus` are kept."""
    bits = ["1"] * len(backbone.sites)
    for run in backbone.runs:
        for i, site in enumerate(run):
            bits[site] = "01"[i % convs >= convs - relus]
    return Placement("".join(bits))


def ratio_text(backbone: Architecture, placement: Placement) -> str:
    """Convolutions of the blocks : ReLUs kept in them, as a reduced fraction: 108:54 is `2:1`."""
    _require_backbone(backbone)
    require_type("placement", placement, Placement, "a Placement")
    if placement.kept == 0:
        return "1:0"
    ratio = Fraction(backbone.convs, placement.kept)
    return f"{ratio.numerator}:{ratio.denominator}"


def _erase_relu(backbone: Architecture, name: str) -> Placement:
    """EraseReLU (arXiv:1709.07634): a proportion of the modules loses its last ReLU.

    A module is a block, or a pair of convolutions in plain networks. In DFN the ReLUs after the sum
    are dropped in both branches. The source does not say which modules lose their ReLU; here they
    are spread evenly and include the last one.
    """
    text = name.removeprefix(_ERASE_RELU)
    share = Fraction(text) if re.fullmatch(r"[01]?\.?[0-9]{1,9}", text) else Fraction(0)
    last = backbone.last_sites
    modules = [site.block for site in backbone.sites if site.index in last]
    blocks = list(dict.fromkeys(modules))  # a single last convolution is no pair
    count, total = int(len(blocks) * share), len(blocks)
    if not (0 < share <= 1 and count):
        raise InputError(
            f"module {name[:60]!r} drops no ReLU of {total} modules; write eraserelu:P with a "
            f"proportion P from {math.ceil(1000 / total) / 1000:g} to 1, such as eraserelu:0.5"
        )
    erased = {b for i, b in enumerate(blocks) if (i + 1) * count // total > i * count // total}
    kept = [site.block not in erased or site.index not in last for site in backbone.sites]
    return Placement("".join("1" if k else "0" for k in kept))


def _longest_run(backbone: Architecture) -> int:
    return max(map(len, backbone.runs), default=0)


def _require_backbone(backbone: Architecture) -> None:
    require_type(
        "backbone", backbone, Architecture, "a Backbone, such as Backbone.parse('plain-38')"
    )
