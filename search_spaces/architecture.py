"""Architecture: what a search knows of a network, of one of the six families or of any other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.errors import InputError, require_type
from search_spaces.placement import Placement


@dataclass(frozen=True, slots=True)
class Site:
    """One searchable ReLU.

    Attributes:
        index: position in the placement, from 0, in forward order.
        name: path of the module in the built network, such as `blocks.3.relu1`.
        stage: from 0.
        block: block of the search space, from 0 (in plain networks a pair of convolutions).
        positions: positions in a block pattern; the pattern keeps the site if it keeps any of them.
        after_sum: the site follows a sum, so no BatchNorm is directly before it.
    """

    index: int
    name: str
    stage: int
    block: int
    positions: tuple[int, ...]
    after_sum: bool


class Architecture(ABC):
    """A network whose ReLUs can be placed: its sites, blocks, stages and named modules.

    Implementations are immutable and hashable.
    """

    width: int | None
    """Channels of the first stage; None: it is not defined by a width."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, as tables show it."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name with everything that defines the network, for one line of text."""

    @property
    @abstractmethod
    def title(self) -> str:
        """One line on what the network is."""

    @property
    @abstractmethod
    def convs(self) -> int:
        """Number of convolutions: the N of the conv:ReLU ratio N:M."""

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Every ReLU site, in forward order."""

    @property
    def paired(self) -> Placement:
        """The placement of the ordinary network, which keeps every ReLU."""
        return Placement("1" * len(self.sites))

    @property
    @abstractmethod
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Blocks in each stage."""

    @property
    @abstractmethod
    def patterns(self) -> Mapping[str, str]:
        """Name of a module -> the bits of every block, for modules that are one pattern."""

    @property
    @abstractmethod
    def aliases(self) -> Mapping[str, str]:
        """A ratio -> the name of the module that it means."""

    @property
    @abstractmethod
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """Sequences of sites in which a module N:M counts; empty: there are patterns only."""

    @property
    @abstractmethod
    def last_sites(self) -> frozenset[int]:
        """The last ReLU of each block, which EraseReLU drops."""

    @property
    @abstractmethod
    def cells(self) -> tuple[tuple[int, int], ...]:
        """For each site its column and its row in a picture of the network, from 0."""

    @property
    @abstractmethod
    def row_names(self) -> tuple[str, ...]:
        """Names of the rows of `cells`."""

    @property
    def symmetry(self) -> tuple[int, ...] | None:
        """A permutation of sites that gives the same family of functions, or None."""
        return None

    @property
    def end_norm_module(self) -> str | None:
        """The module that PyramidNet extends by a BatchNorm at the end of each block, or None."""
        return None

    @property
    def smallest_image(self) -> int:
        """Fewest pixels per side of an image, as far as it is known without a forward pass."""
        return 1

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """JSON values, among them `backbone` (its name) and `width` (None: it has none)."""

    @abstractmethod
    def pattern_length(self, sites: Sequence[Site]) -> int:
        """Length of a pattern that sets these sites in each of their blocks."""

    @abstractmethod
    def stage_title(self, stage: int) -> str:
        """A stage, counted from 0, as a figure names it."""

    @property
    def code(self) -> str | None:
        """Name of the code that makes this network, which every command names again; or None."""
        return None

    def require_runnable(self) -> None:  # noqa: B027 (most networks have nothing to check)
        """Check that this network may be built here.

        Raises:
            InputError: it would run code that nobody has named.
        """

    def prove(  # noqa: B027
        self, num_classes: int, in_channels: int, image_size: tuple[int, int]
    ) -> None:
        """Check that placements on this network do what they say, for images of this shape.

        Raises:
            InputError: they do not.
        """

    def canonical(self, placement: Placement) -> Placement:
        """One representative of all placements that give the same family of functions."""
        placement = self.effective(placement)
        if self.symmetry is None:
            return placement
        swapped = "".join(placement.bits[i] for i in self.symmetry)
        return replace(placement, bits=min(placement.bits, swapped))

    def effective(self, placement: Placement) -> Placement:
        """The placement, with `dropped_norm` set to `keep` if no dropped ReLU has a BatchNorm.

        Raises:
            InputError: as `check`.
        """
        self.check(placement)
        dropped = (site for site, kept in zip(self.sites, placement, strict=True) if not kept)
        if placement.dropped_norm == "drop" and all(site.after_sum for site in dropped):
            return replace(placement, dropped_norm="keep")
        return placement

    def check(self, placement: Placement) -> None:
        """Check that the placement fits this network.

        Raises:
            InputError: wrong number of sites, or norms that this network cannot add or drop.
        """
        require_type("placement", placement, Placement, "a Placement")
        if len(placement) != len(self.sites):
            raise InputError(
                f"placement {placement.text[:60]!r} has {len(placement)} sites but {self.name} "
                f"has {len(self.sites)}; write one bit for each ReLU site, or a module name"
            )
        self.check_norms(placement)

    @abstractmethod
    def check_norms(self, placement: Placement) -> None:
        """Check that this network can have the norms of a placement.

        Raises:
            InputError: it cannot.
        """

    def __str__(self) -> str:
        return self.name
