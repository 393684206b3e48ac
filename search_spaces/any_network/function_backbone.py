"""FunctionBackbone: a network that a function makes, as a backbone of a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from search_spaces.any_network.dry_run import (
    DEFAULT_KINDS,
    Choice,
    Measured,
    made,
    made_by,
    measured,
    pixels,
    searched_layout,
)
from search_spaces.any_network.layout import Layout, Place
from search_spaces.any_network.source import Source, read_source, source_of
from search_spaces.architecture import Architecture, Site
from search_spaces.errors import InputError, shown
from search_spaces.placement import Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

    from search_spaces.any_network.function_network import FunctionNetwork


_SEED = 0
"""Of the initial weights in the proof."""


class FunctionBackbone(Architecture):
    """The network of a function, of torchvision, timm, a file or a package.

    ```python
    FunctionBackbone("torchvision:resnet18").sites   # 16
    FunctionBackbone(make_model, arguments={"width_mult": 0.5})
    ```

    It is pickled by the function's import path. Two are equal if function, arguments and the choice
    of sites are.

    Attributes:
        choice: what makes the network and which activations are sites.
        layout: sites, blocks and stages.
    """

    width = None

    def __init__(
        self,
        function: str | Callable[..., nn.Module],
        *,
        arguments: Mapping[str, Any] | str | None = None,
        sites: str | None = None,
        exclude: str | None = None,
    ) -> None:
        """Make the network once, and find its sites by a dry run.

        Args:
            function: a name such as `my_models.py:make_model`, or a function that another process
                can import. It gets `num_classes` and `in_channels` where it takes them.
            arguments: of the function, as a mapping or as a JSON object.
            sites: kinds of activations that are sites; None: `relu,relu6`.
            exclude: patterns of names that are left out, separated by commas; None: squeeze-and-
                excitation gates and the stem; `none`: nothing.

        Raises:
            InputError: no such function, it fails, or the network has no site.
        """
        text = arguments if isinstance(arguments, str | None) else _json(arguments)
        source = source_of(function, text) if callable(function) else read_source(function, text)
        self.choice = Choice(source, sites or DEFAULT_KINDS, exclude or "")
        self.layout = searched_layout(self.choice)
        self._may_run = True

    def to_json(self) -> dict[str, Any]:
        """As every architecture; and `network`: what makes the network, and its layout."""
        return {
            "backbone": self.choice.source.text,
            "width": None,
            "network": {
                "source": self.choice.source.to_json(),
                "sites": self.choice.kinds,
                "exclude": self.choice.exclude,
                "layout": self.layout.to_json(),
            },
        }

    @classmethod
    def from_json(cls, value: object, *, may_run: bool) -> FunctionBackbone:
        """Read the entry `network` of `to_json`. Runs nothing.

        Args:
            may_run: whether its code may be run: it comes from this program, not from a file.
                Models of an installed library may always be made.

        Raises:
            InputError: malformed values.
        """
        if not (
            isinstance(value, Mapping) and set(value) == {"source", "sites", "exclude", "layout"}
        ):
            raise InputError(f"a network is {shown(value)}; restore the file that has it")
        backbone = cls.__new__(cls)
        source = Source.from_json(value["source"])
        backbone.choice = Choice(source, value["sites"], value["exclude"])
        backbone.layout = Layout.from_json(value["layout"])
        backbone._may_run = may_run or not source.is_code
        return backbone

    def named_again(self, name: str | None) -> FunctionBackbone:
        """This backbone, which may run its code if the user has named that.

        Args:
            name: as the user typed it; None: it was not typed.

        Raises:
            InputError: the name is another function, or the file has changed.
        """
        if name is None:
            return self
        named = read_source(name, self.choice.source.arguments)
        mine = self.choice.source
        if (named.kind, named.function) != (mine.kind, mine.function):
            raise InputError(f"backbone {name!r:.200} is not that of the run; name {mine.text}")
        if named.digest != mine.digest:
            raise InputError(
                f"{named.place} has changed since the run began, so its figures could not be "
                f"compared; restore the file (SHA-256 {mine.digest}), or search again"
            )
        twin = FunctionBackbone.__new__(FunctionBackbone)
        twin.choice = replace(self.choice, source=named)
        twin.layout, twin._may_run = self.layout, True
        return twin

    @property
    def name(self) -> str:
        return self.choice.source.name

    @property
    def label(self) -> str:
        parts = [self.choice.source.label]
        if self.choice.kinds != DEFAULT_KINDS:
            parts.append(f"sites {self.choice.kinds}")
        if self.choice.exclude:
            parts.append(f"without {self.choice.exclude}")
        return ", ".join(parts)

    @property
    def title(self) -> str:
        return {
            "torchvision": "a model of torchvision",
            "timm": "a model of timm",
            "file": "a network of your own",
            "package": "a network of your own",
        }[self.choice.source.kind]

    @property
    def convs(self) -> int:
        """Convolutions that are called between the first and the last site."""
        return self.layout.convs

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        names, places = self.layout.names, self.layout.places
        return tuple(
            Site(index, names[i], places[i].stage, places[i].block, (places[i].position,), True)
            for index, i in enumerate(self.layout.sites)
        )

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The sites of each block."""
        count = 1 + max(site.block for site in self.sites)
        return tuple(
            tuple(site.index for site in self.sites if site.block == block)
            for block in range(count)
        )

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        stages = [self.sites[block[0]].stage for block in self.blocks]
        return tuple(stages.count(stage) for stage in range(max(stages) + 1))

    @property
    def patterns(self) -> Mapping[str, str]:
        """Blocks of k sites each have k modules, each without one of the k ReLUs."""
        sizes = set(map(len, self.blocks))
        count = max(sizes)
        if not self.layout.has_blocks or len(sizes) > 1 or count < 2:
            return {}
        types = ("first", "second") if count == 2 else [f"type{k + 1}" for k in range(count)]
        ratio = f"{count}:{count - 1}"
        return {
            f"{ratio}/{kind}": "".join("01"[i != k] for i in range(count))
            for k, kind in enumerate(types)
        }

    @property
    def aliases(self) -> Mapping[str, str]:
        return {name.partition("/")[0]: name for name in reversed(list(self.patterns))}

    @property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """`N:M` counts in each block, or through the whole network if it has no blocks."""
        return self.blocks if self.layout.has_blocks else (tuple(range(len(self.sites))),)

    @property
    def last_sites(self) -> frozenset[int]:
        return frozenset(block[-1] for block in self.blocks)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        return tuple((site.block, site.positions[0]) for site in self.sites)

    @property
    def row_names(self) -> tuple[str, ...]:
        return ("first", "second", "third", "fourth")[: max(map(len, self.blocks))]

    def pattern_length(self, sites: Sequence[Site]) -> int:
        return 1 + max(site.positions[0] for site in sites)

    def stage_title(self, stage: int) -> str:
        return f"stage {stage + 1}"

    def check_norms(self, placement: Placement) -> None:
        if placement.dropped_norm == "drop" or placement.block_norm == "end":
            raise InputError(
                f"{self.name} keeps its norms: @drop-norm and @end-norm, --norm drop and "
                "--search-norm are for the six families"
            )

    @property
    def code(self) -> str | None:
        source = self.choice.source
        return source.text if source.is_code else None

    def require_runnable(self) -> None:
        if not self._may_run:
            source = self.choice.source
            raise InputError(
                f"{source.text} is code, which runs only if you name it on the command line; if "
                f"you trust it, add: --backbone {source.text}"
            )

    def build(
        self, num_classes: int, in_channels: int, generator: torch.Generator | None = None
    ) -> FunctionNetwork:
        """The network with all its activations.

        Args:
            generator: of the initial weights, which the function draws from torch's global
                generator; None: it is used as it is.

        Raises:
            InputError: the code may not run, or it does not make the network of this layout.
        """
        from search_spaces.any_network.function_network import FunctionNetwork

        self.require_runnable()
        model = made(self.choice.source, num_classes, in_channels, generator)
        try:
            return FunctionNetwork(self, self.layout, model, num_classes, in_channels)
        except AttributeError as error:  # a path of the layout does not exist
            raise InputError(
                f"{self.name} is not the network that was recorded ({error}); restore the file, or "
                "install the version that the record names"
            ) from error

    def measured(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> Measured:
        """Costs on images of a shape.

        Args:
            image_size: (height, width) in pixels.

        Raises:
            InputError: the network fails on such images, has another number of outputs, or its
                calls depend on the size of the images.
        """
        self.require_runnable()
        found = measured(self.choice, num_classes, in_channels, image_size)
        if _calls_of(found.layout) != _calls_of(self.layout):
            raise InputError(
                f"{self.name} calls other activations on images of {pixels(image_size)} than on "
                "others, so its sites have no fixed meaning; use a network without such choices"
            )
        return found

    def prove(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        self.require_runnable()
        _prove(self, num_classes, in_channels, image_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionBackbone) and self.choice == other.choice

    def __hash__(self) -> int:
        return hash(self.choice)

    def __repr__(self) -> str:
        return f"FunctionBackbone({self.label!r})"


@lru_cache(maxsize=64)
def _prove(
    backbone: FunctionBackbone, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> None:
    """See `FunctionBackbone.prove`; a network is proved once per process and shape."""
    import torch

    from search_spaces.any_network.proof import prove

    backbone.measured(num_classes, in_channels, image_size)
    original = made_by(backbone.choice.source, num_classes, in_channels, _SEED)
    network = backbone.build(num_classes, in_channels, torch.Generator().manual_seed(_SEED))
    prove(original, network, image_size)


def _calls_of(layout: Layout) -> list[tuple[str, bool, str]]:
    def call(place: Place) -> tuple[str, bool, str]:
        return place.path, place.is_function, place.kind

    return list(map(call, layout.places))


def _json(arguments: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(arguments))
    except (TypeError, ValueError) as error:
        raise InputError(f"the arguments of the network are no JSON values: {error}") from error
