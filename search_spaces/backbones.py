"""Backbone: the description of a network, and the table of families. It does not import torch.

Sources: "Rethinking ReLU to Train Better CNNs" (the paper), arXiv:1611.07718 (merge-and-run, DFN)
and "Identity Mappings in Deep Residual Networks", ECCV 2016 (pre-activation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast, get_args

from search_spaces.architecture import Architecture, Site
from search_spaces.errors import InputError, require_type, shown
from search_spaces.placement import Placement

STAGES = 3
MAX_DEPTH = 1202
"""The largest supported depth: the ResNet papers trained no deeper network."""
MAX_WIDTH = 1024
LARGEST_SIDE = 2**16
SMALLEST_IMAGE = 8
"""Pixels per side. The third stage then has 2x2 values per channel, enough for a BatchNorm."""

Activation = Literal["relu", "leaky_relu", "prelu", "rrelu", "elu", "crelu"]
"""The activation of the kept sites (the paper's Section II-A). Stem and final: always ReLU."""

GATED_ACTIVATIONS: tuple[Activation, ...] = ("relu", "leaky_relu", "elu")
"""Activations without weights, random draws or extra channels: no placement changes a shape."""


def check_activation(name: str) -> Activation:
    """Return the name if it is one of `Activation`.

    Raises:
        InputError: the name is unknown.
    """
    if not isinstance(name, str) or name not in get_args(Activation):
        raise InputError(
            f"activation {shown(name)} is unknown; use one of {', '.join(get_args(Activation))}"
        )
    return cast(Activation, name)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all backbones of one family have in common.

    Attributes:
        convs_per_block: convolutions in a block, over all branches (b in the depth formula).
        block_sites: module paths of the ReLU sites within a block, in forward order.
        last_block_sites: the same for the last block of the network, if it differs (DFN).
        after_sum: the sites that follow a sum: no BatchNorm is directly before them.
        pattern_positions: for each of `last_block_sites`, the matching positions of `block_sites`.
            A pattern for all blocks keeps the site if it keeps any of these positions.
        preactivation: BN and ReLU are before each convolution, and a final BN-ReLU before pooling.
        pattern_length: number of sites in one block of the search space: all sites of the block,
            but two in plain networks, where a "block" is a pair of consecutive convolutions.
        title: one line for help and tables.
        patterns: name of a hand-designed module -> its bits in every block.
        aliases: a ratio alone -> the variant of the paper's tables, or else the best one of its
            figures.
        end_norm_module: the module that PyramidNet extends (arXiv:1610.02915): the first ReLU of
            each block is dropped, and a BatchNorm ends the branch.
    """

    convs_per_block: int
    block_sites: tuple[str, ...]
    last_block_sites: tuple[str, ...] | None = None
    after_sum: frozenset[str] = frozenset()
    pattern_positions: tuple[tuple[int, ...], ...] | None = None
    preactivation: bool = False
    pattern_length: int
    title: str
    patterns: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    end_norm_module: str | None = None


FAMILIES: dict[str, Family] = {
    "plain": Family(
        convs_per_block=1,
        block_sites=("relu",),
        pattern_length=2,
        title="no shortcuts; conv-BN-ReLU",
    ),
    "preplain": Family(
        convs_per_block=1,
        block_sites=("relu",),
        pattern_length=2,
        preactivation=True,
        title="no shortcuts; BN-ReLU-conv",
    ),
    "resnet": Family(
        convs_per_block=2,
        block_sites=("relu1", "relu2"),
        after_sum=frozenset({"relu2"}),
        pattern_length=2,
        title="building block conv-BN-ReLU-conv-BN, + shortcut, ReLU",
        patterns={"2:1/first": "01", "2:1/second": "10"},
        aliases={"2:1": "2:1/first"},
    ),
    "preresnet": Family(
        convs_per_block=2,
        block_sites=("relu1", "relu2"),
        pattern_length=2,
        preactivation=True,
        title="BN-ReLU-conv-BN-ReLU-conv, + shortcut",
        patterns={"2:1/first": "01", "2:1/second": "10"},
        aliases={"2:1": "2:1/first"},
        end_norm_module="2:1/first",
    ),
    "preresnet-bottleneck": Family(
        convs_per_block=3,
        block_sites=("relu1", "relu2", "relu3"),
        pattern_length=3,
        preactivation=True,
        title="BN-ReLU-1x1-BN-ReLU-3x3-BN-ReLU-1x1, + shortcut",
        patterns={"3:2/type1": "011", "3:2/type2": "101", "3:2/type3": "110"},
        aliases={"3:2": "3:2/type1"},
        end_norm_module="3:2/type1",
    ),
    "dfn": Family(
        convs_per_block=4,
        block_sites=("branch1.relu", "relu1", "branch2.relu", "relu2"),
        last_block_sites=("branch1.relu", "branch2.relu", "relu"),
        after_sum=frozenset({"relu1", "relu2", "relu"}),
        pattern_positions=((0,), (2,), (1, 3)),
        pattern_length=4,
        title="DFN-MR1, merge-and-run; depth counts both branches (dfn-110 is actually 56 deep)",
        patterns={"4:3/type1": "1011", "4:3/type2": "0111"},
        aliases={"4:3": "4:3/type1"},
    ),
}

_DFN_SWAP = {"branch1.relu": "branch2.relu", "relu1": "relu2"}


@dataclass(frozen=True)
class Backbone(Architecture):
    """A network family with a depth and a width: checked, immutable, hashable.

    ```python
    Backbone.parse("preresnet-110").sites   # 108 ReLU sites
    Backbone("plain", 38, width=8).name     # "plain-38"
    ```

    Attributes:
        family: a key of `FAMILIES`.
        depth: as in the paper: convolutions of all blocks + stem + classifier. In DFN the
            convolutions of both branches count.
        width: channels of the first stage; the three stages have width, 2*width and 4*width.

    Raises:
        InputError: unknown family, or a depth or width that the family cannot have.
    """

    family: str
    depth: int
    width: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.family, str) or self.family not in FAMILIES:
            raise InputError(
                f"backbone family {shown(self.family)} is unknown; use one of {', '.join(FAMILIES)}"
            )
        for what, value in (("depth", self.depth), ("width", self.width)):
            if type(value) is not int:
                raise InputError(f"{what} is {shown(value)}; it must be a whole number")
        if not 1 <= self.width <= MAX_WIDTH:
            raise InputError(
                f"width {shown(self.width)} is out of range; use 1 to {MAX_WIDTH} channels"
            )
        per_block = FAMILIES[self.family].convs_per_block
        if not _is_valid_depth(self.depth, per_block):
            nearest = " and ".join(
                f"{self.family}-{d}" for d in _nearest_depths(self.depth, per_block)
            )
            raise InputError(
                f"{self.family}-{shown(self.depth)} does not exist: depth - 2 must be a multiple "
                f"of {per_block}, at least {STAGES * per_block}, and the depth at most "
                f"{MAX_DEPTH}; nearest: {nearest}"
            )

    @classmethod
    def parse(cls, name: str | Backbone, width: int = 16) -> Backbone:
        """Read a name such as `preresnet-bottleneck-110`. A `Backbone` is returned unchanged.

        Raises:
            InputError: the name is not FAMILY-DEPTH with a known family and a valid depth.
        """
        if isinstance(name, Backbone):
            return name
        require_type("backbone", name, str, "a text such as 'plain-38'")
        match = re.fullmatch(r"([a-z-]+?)-([0-9]{1,6})", name.strip())
        if match is None or match[1] not in FAMILIES:
            raise InputError(
                f"backbone {name[:60]!r} is unknown; write FAMILY-DEPTH, such as plain-38, with "
                f"family one of {', '.join(FAMILIES)}"
            )
        return cls(match[1], int(match[2]), width)

    @property
    def name(self) -> str:
        """FAMILY-DEPTH, without the width."""
        return f"{self.family}-{self.depth}"

    @property
    def smallest_image(self) -> int:
        return SMALLEST_IMAGE

    def to_json(self) -> dict[str, Any]:
        return {"backbone": self.name, "width": self.width}

    @property
    def label(self) -> str:
        return f"{self.name}, width {self.width}"

    @property
    def spec(self) -> Family:
        return FAMILIES[self.family]

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def is_plain(self) -> bool:
        """Whether a block has one convolution."""
        return self.spec.convs_per_block == 1

    @property
    def patterns(self) -> Mapping[str, str]:
        return self.spec.patterns

    @property
    def aliases(self) -> Mapping[str, str]:
        return self.spec.aliases

    @property
    def end_norm_module(self) -> str | None:
        return self.spec.end_norm_module

    @property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """In plain networks `N:M` counts through all sites, beginning after the stem."""
        return (tuple(range(len(self.sites))),) if self.is_plain else ()

    @property
    def last_sites(self) -> frozenset[int]:
        """In plain networks the second of each pair; in DFN the ReLUs after the sums."""
        if self.family == "dfn":
            return frozenset(site.index for site in self.sites if site.after_sum)
        last = (self.spec.pattern_length - 1,)
        return frozenset(site.index for site in self.sites if site.positions == last)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """The built block, and the position in it; for a joint site its last position."""
        return tuple(
            (int(site.name.split(".")[1]), 0 if self.is_plain else max(site.positions))
            for site in self.sites
        )

    @property
    def row_names(self) -> tuple[str, ...]:
        return self.spec.block_sites

    def pattern_length(self, sites: Sequence[Site]) -> int:
        return self.spec.pattern_length

    def stage_title(self, stage: int) -> str:
        return f"stage {stage + 1}, {self.width * 2**stage} channels"

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Blocks in each stage; later stages get the remainder: plain-84 has 27, 27, 28."""
        per_block = self.spec.convs_per_block
        used, counts = 2, []
        for stage in range(STAGES):
            count = (self.depth - used) // (per_block * (STAGES - stage))
            counts.append(count)
            used += count * per_block
        return tuple(counts)

    @property
    def convs(self) -> int:
        """Number of convolutions in the blocks: the N of the conv:ReLU ratio N:M."""
        return sum(self.blocks_per_stage) * self.spec.convs_per_block

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every ReLU site of the blocks, in forward order. Stem and final ReLU are not sites.

        A DFN block has four sites: branch 1 inner, branch 1 after the sum, branch 2 inner, branch 2
        after the sum. The last block has three: branch 1 inner, branch 2 inner, after the sum.
        """
        spec = self.spec
        stages = [s for s, n in enumerate(self.blocks_per_stage) for _ in range(n)]
        sites: list[Site] = []
        for block, stage in enumerate(stages):
            is_last = block == len(stages) - 1
            names = spec.block_sites
            positions: tuple[tuple[int, ...], ...] = tuple((p,) for p in range(len(names)))
            if is_last and spec.last_block_sites and spec.pattern_positions:
                names, positions = spec.last_block_sites, spec.pattern_positions
            for name, where in zip(names, positions, strict=True):
                i, unit, place = len(sites), block, where
                if spec.convs_per_block == 1:  # plain: two convolutions make a block of the search
                    unit, place = i // spec.pattern_length, (i % spec.pattern_length,)
                after_sum = name in spec.after_sum
                sites.append(Site(i, f"blocks.{block}.{name}", stage, unit, place, after_sum))
        return tuple(sites)

    @cached_property
    def symmetry(self) -> tuple[int, ...] | None:
        """The permutation of sites that exchanges the two branches of DFN in all blocks, else None.

        A permuted placement gives the same family of functions, with the weights exchanged too.
        """
        if self.family != "dfn":
            return None
        index = {site.name: site.index for site in self.sites}
        swapped = dict(_DFN_SWAP) | {b: a for a, b in _DFN_SWAP.items()}
        permutation = []
        for site in self.sites:
            prefix, block, within = site.name.split(".", 2)
            permutation.append(index[f"{prefix}.{block}.{swapped.get(within, within)}"])
        return tuple(permutation)

    def check_norms(self, placement: Placement) -> None:
        if placement.block_norm == "end" and self.end_norm_module is None:
            raise InputError(
                f"{self.name} has no block with a BatchNorm at its end; @end-norm fits "
                "preresnet and preresnet-bottleneck"
            )


def _is_valid_depth(depth: int, convs_per_block: int) -> bool:
    blocks, rest = divmod(depth - 2, convs_per_block)
    return rest == 0 and blocks >= STAGES and depth <= MAX_DEPTH


def _nearest_depths(depth: int, convs_per_block: int) -> list[int]:
    """The nearest valid depths below and above `depth`."""
    smallest = 2 + STAGES * convs_per_block
    largest = MAX_DEPTH - (MAX_DEPTH - 2) % convs_per_block
    below = depth - (depth - 2) % convs_per_block
    candidates = {min(max(d, smallest), largest) for d in (below, below + convs_per_block)}
    return sorted(candidates)
