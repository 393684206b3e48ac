"""The options that name a network, and the network that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relu_search.settings.metrics import ObjectiveOptions
from relu_search.settings.option_fields import option
from search_spaces import Architecture, FunctionBackbone, parse_backbone
from search_spaces.any_network.source import is_source

SMALL_DATA = "digits"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(ObjectiveOptions):
    """Options of the network, which `SearchOptions` has."""

    backbone: str = option(
        "plain-38",
        "Network",
        "plain-D, preplain-D, resnet-D, preresnet-D, preresnet-bottleneck-D or dfn-D, where D is "
        "the depth. The depth of dfn counts both branches, so the longest path of dfn-110 has "
        "56 layers. Or any network: torchvision:NAME, timm:NAME, FILE.py:FUNCTION or "
        "package.module:FUNCTION. The function returns the network.",
    )
    width: int | None = option(
        None, "Network", "Channels of the first stage.", default_text="16; 8 on digits"
    )
    backbone_args: str | None = option(
        None,
        "Network",
        'Arguments of the function that makes the network, such as {"width_mult": 0.5}.',
        metavar="JSON",
    )
    sites: str | None = option(
        None,
        "Network",
        "Which activations of such a network are sites: relu, relu6, silu, gelu, hardswish, "
        "separated by commas.",
        default_text="relu,relu6",
        metavar="NAMES",
    )
    exclude: str | None = option(
        None,
        "Network",
        "Sites of such a network that are left out: patterns of names, separated by commas. none "
        "also takes in the stem and squeeze-and-excitation gates.",
        metavar="PATTERNS",
    )


def network_of(typed: NetworkOptions, data: Any) -> Architecture:
    """The backbone that the options name, unless they have it already.

    Args:
        data: the option of this name; the default width depends on it.
    """
    known: Architecture | None = getattr(typed, "network", None)
    if known is not None:
        return known
    width = typed.width
    if width is None and not is_source(typed.backbone):
        width = 8 if data == SMALL_DATA else 16
    return parse_backbone(
        typed.backbone,
        width,
        arguments=typed.backbone_args,
        sites=typed.sites,
        exclude=typed.exclude,
    )


def names_of(network: Architecture) -> dict[str, Any]:
    """The options that name the backbone, such that they name it from any working directory."""
    name = network.to_json()["backbone"]
    if not isinstance(network, FunctionBackbone):
        return {"backbone": name, "width": network.width}
    choice = network.choice
    return {
        "backbone": name,
        "width": None,
        "backbone_args": choice.source.arguments,
        "sites": choice.kinds,
        "exclude": choice.exclude or None,
    }
