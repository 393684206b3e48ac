"""Makes a network and runs it once: its sites, and what it costs on images of a shape."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from search_spaces.any_network.layout import Layout, layout_of
from search_spaces.any_network.source import Source, described
from search_spaces.errors import InputError, require_type, shown

if TYPE_CHECKING:
    import torch
    from torch import nn

    from search_spaces.any_network.recording import Call, Recording

DEFAULT_KINDS = "relu,relu6"
_SIZES = (64, 224, 32, 128, 299, 28, 96, 256, 48, 160, 384, 16, 8)
"""Sides of images on which a network is tried, in this order, to find its blocks and stages."""
_LARGE = 512
"""Larger images, in pixels per side, are not computed: the dry run has shapes only."""
_FEW_CLASSES = 10


@dataclass(frozen=True)
class Choice:
    """What makes a network, and which of its activations are sites.

    Attributes:
        source: the function.
        kinds: names of activations, separated by commas.
        exclude: patterns of names of sites that are left out, separated by commas.
    """

    source: Source
    kinds: str = DEFAULT_KINDS
    exclude: str = ""

    def __post_init__(self) -> None:
        known = ("relu", "relu6", "silu", "gelu", "hardswish")
        require_type("sites", self.kinds, str, "a text such as 'relu,relu6'")
        require_type("exclude", self.exclude, str, "a text such as '*.se.*'")
        if not self.kind_list or set(self.kind_list) - set(known):
            raise InputError(
                f"sites is {shown(self.kinds)}; it must be one or more of {', '.join(known)}, "
                "separated by commas"
            )

    @property
    def kind_list(self) -> tuple[str, ...]:
        return _listed(self.kinds)

    @property
    def exclude_list(self) -> tuple[str, ...]:
        return _listed(self.exclude)


@dataclass(frozen=True)
class Measured:
    """A network on images of one shape.

    Attributes:
        layout: its calls; equal for all shapes, but for stages.
        elements: input values of each call, for one image.
        params: trainable parameters.
        macs: multiply-accumulates of convolutions and linear layers, for one image.
    """

    layout: Layout
    elements: tuple[int, ...]
    params: int
    macs: int


def made_by(source: Source, num_classes: int, in_channels: int, seed: int) -> nn.Module:
    """The user's network, with initial weights from a seed."""
    import torch

    return made(source, num_classes, in_channels, torch.Generator().manual_seed(seed))


def made(
    source: Source, num_classes: int, in_channels: int, generator: torch.Generator | None
) -> nn.Module:
    import torch

    if generator is None:
        return _on_default_device(source, num_classes, in_channels)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return source.make(num_classes, in_channels)


def _on_default_device(source: Source, num_classes: int, in_channels: int) -> nn.Module:
    """The network on torch's default device; on the CPU if it cannot be made on the meta device."""
    import torch

    try:
        return source.make(num_classes, in_channels)
    except InputError:
        if torch.get_default_device().type != "meta":
            raise
        with torch.device("cpu"):
            return source.make(num_classes, in_channels)


@lru_cache(maxsize=64)
def searched_layout(choice: Choice) -> Layout:
    """The layout of a network, by a dry run on images of the first size that it takes.

    Raises:
        InputError: it takes none, or has no site.
    """
    model = made_by(choice.source, _FEW_CLASSES, 3, 0)
    channels = _channels_of(model)
    reasons = []
    for size in _SIZES:
        try:
            recording = _recorded(model, channels, (size, size))
        except Exception as error:
            reasons.append(described(error))
            continue
        return _layout(choice, model, recording)
    raise InputError(
        f"{choice.source.name} fails on images of {channels}x{_SIZES[0]}x{_SIZES[0]} pixels "
        f"({reasons[0]}) and on {len(_SIZES) - 1} other sizes from 8 to 384; correct the network"
    )


@lru_cache(maxsize=64)
def measured(
    choice: Choice, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Measured:
    import torch

    with torch.device("meta" if max(image_size) > _LARGE else "cpu"):
        model = _on_default_device(choice.source, num_classes, in_channels)
    try:
        recording = _recorded(model, in_channels, image_size)
    except Exception as error:
        raise InputError(
            f"{choice.source.name} fails on images of {in_channels}x{pixels(image_size)} pixels: "
            f"{described(error)}; use other images, or another network"
        ) from error
    shape = tuple(getattr(recording.output, "shape", ()))
    if shape != (1, num_classes):
        raise InputError(
            f"{choice.source.name} returns {shape or shown(recording.output)} for one image and "
            f"{num_classes} classes; it must return (1, {num_classes}): let its function take "
            "num_classes"
        )
    return Measured(
        _layout(choice, model, recording),
        tuple(math.prod(call.shape) for call in recording.calls),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        recording.macs,
    )


def _recorded(model: nn.Module, channels: int, size: tuple[int, int]) -> Recording:
    import torch

    from search_spaces.any_network.recording import record

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return record(model.eval(), torch.zeros(1, channels, *size, device=device))


def _layout(choice: Choice, model: nn.Module, recording: Recording) -> Layout:
    from torch import nn

    from search_spaces.any_network.recording import kind_of

    bare = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    called = {call.path for call in recording.calls}
    layout = layout_of(
        [_plain(call) for call in recording.calls],
        {path: "" if type(m) in bare else type(m).__name__ for path, m in model.named_modules()},
        kinds=choice.kind_list,
        exclude=choice.exclude_list,
        not_called=[p for p, m in model.named_modules() if kind_of(m) and p not in called],
    )
    if not layout.sites:
        others = Counter(place.out for place in layout.places)
        found = ", ".join(f"{count} x {reason}" for reason, count in others.items())
        raise InputError(
            f"{choice.source.name} has no site: it calls no {' or '.join(choice.kind_list)}"
            + (
                f" that is not left out ({found}); change --sites or --exclude"
                if found
                else "; use a network with activations"
            )
        )
    return layout


def _plain(call: Call) -> dict[str, Any]:
    return {
        "path": call.path,
        "is_function": call.is_function,
        "kind": call.kind,
        "shape": call.shape,
        "convs": call.convs,
    }


def _channels_of(model: nn.Module) -> int:
    """Channels of the images that a network takes, by its first convolution."""
    from torch import nn

    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, 3) else 3


def pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
