"""From a backbone as users write it to the backbone itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.any_network.function_backbone import FunctionBackbone
from search_spaces.any_network.source import FORMS, is_source
from search_spaces.architecture import Architecture
from search_spaces.backbones import FAMILIES, Backbone
from search_spaces.errors import InputError, require_type

if TYPE_CHECKING:
    from torch import nn

_LOOKS_ALIKE = {18: "11.2", 34: "21.3", 50: "23.5", 101: "42.5", 152: "58.2"}
"""Depth of a ResNet of torchvision -> millions of parameters with 10 classes."""


def parse_backbone(
    name: str | Architecture | Callable[..., nn.Module],
    width: int | None = None,
    *,
    arguments: str | None = None,
    sites: str | None = None,
    exclude: str | None = None,
) -> Architecture:
    """Read the name of a backbone. The name of a function runs it: take none from a stranger.

    ```python
    parse_backbone("preresnet-110", 16)
    parse_backbone("torchvision:resnet18")
    ```

    Args:
        name: FAMILY-DEPTH, the name of a function, or a function. An `Architecture` is returned
            unchanged.
        width: channels of the first stage of a family; None: 16.
        arguments, sites, exclude: of a `FunctionBackbone`.

    Raises:
        InputError: an unknown name, or options that do not belong to it.
    """
    if isinstance(name, Architecture):
        return name
    if callable(name) or (isinstance(name, str) and is_source(name)):
        if width is not None:
            raise InputError(
                f"width {width} is for the six families; give a function its arguments with "
                "--backbone-args"
            )
        return FunctionBackbone(name, arguments=arguments, sites=sites, exclude=exclude)
    for option, value in (("backbone-args", arguments), ("sites", sites), ("exclude", exclude)):
        if value is not None:
            raise InputError(
                f"{option} is for a network of your own, not for {name!r:.60}; leave it out, or "
                f"name a backbone as {FORMS}"
            )
    require_type("backbone", name, str, "a text such as 'plain-38'")
    try:
        return Backbone.parse(name, 16 if width is None else width)
    except InputError as error:
        raise InputError(f"{error}{_hint(name)}") from error


def backbone_from_json(value: Mapping[str, Any], *, may_run: bool) -> Architecture:
    """Read `Architecture.to_json` from a mapping that has its keys. Runs nothing.

    Args:
        may_run: whether code that it names may be run later: the mapping comes from this program,
            not from a file.

    Raises:
        InputError: malformed values.
    """
    if (network := value.get("network")) is not None:
        return FunctionBackbone.from_json(network, may_run=may_run)
    require_type("width", value["width"], int, "a whole number")
    return Backbone.parse(value["backbone"], value["width"])


def look_alike(backbone: Architecture) -> str | None:
    """One line for a family's network that has nearly the name of a larger one; else None."""
    if not isinstance(backbone, Backbone) or backbone.family != "resnet":
        return None
    millions = _LOOKS_ALIKE.get(backbone.depth)
    if millions is None:
        return None
    return (
        f"{backbone.name} is the paper's ResNet for small images, of three stages; the ResNet-"
        f"{backbone.depth} of ImageNet ({millions} million parameters) is "
        f"torchvision:resnet{backbone.depth}"
    )


def _hint(name: str) -> str:
    family, _, depth = name.strip().rpartition("-")
    if family == "resnet" and depth in map(str, _LOOKS_ALIKE):
        return f"; the network of ImageNet is torchvision:resnet{depth}"
    return "" if family in FAMILIES else f"; or {FORMS}"
