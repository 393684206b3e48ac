"""Placements, the networks they apply to, and the spaces to search.

Names that need torch are loaded at first use, so a check of the input does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from search_spaces.any_network.function_backbone import FunctionBackbone
from search_spaces.architecture import Architecture, Site
from search_spaces.backbone_names import backbone_from_json, look_alike, parse_backbone
from search_spaces.backbones import (
    FAMILIES,
    GATED_ACTIVATIONS,
    Activation,
    Backbone,
    Family,
    check_activation,
)
from search_spaces.errors import InputError
from search_spaces.named_placements import (
    module_name_of,
    module_names,
    module_placement,
    ratio_text,
    reference_modules,
    resolve_placement,
)
from search_spaces.placement import DroppedNorm, Placement
from search_spaces.space import GRANULARITIES, Granularity, NormChoice, SearchSpace

if TYPE_CHECKING:
    from search_spaces.any_network.function_network import FunctionNetwork as FunctionNetwork
    from search_spaces.networks.build import Network as Network
    from search_spaces.networks.build import build as build
    from search_spaces.networks.complexity import Complexity as Complexity
    from search_spaces.networks.complexity import measure_complexity as measure_complexity
    from search_spaces.networks.sites import apply_placement as apply_placement
    from search_spaces.networks.sites import relu_sites as relu_sites

_NEEDS_TORCH = {
    "Complexity": "networks.complexity",
    "measure_complexity": "networks.complexity",
    "FunctionNetwork": "any_network.function_network",
    "Network": "networks.build",
    "build": "networks.build",
    "apply_placement": "networks.sites",
    "relu_sites": "networks.sites",
}

__all__ = [
    "FAMILIES",
    "GATED_ACTIVATIONS",
    "GRANULARITIES",
    "Activation",
    "Architecture",
    "Backbone",
    "Complexity",
    "DroppedNorm",
    "Family",
    "FunctionBackbone",
    "FunctionNetwork",
    "Granularity",
    "InputError",
    "Network",
    "NormChoice",
    "Placement",
    "SearchSpace",
    "Site",
    "apply_placement",
    "backbone_from_json",
    "build",
    "check_activation",
    "look_alike",
    "measure_complexity",
    "module_name_of",
    "module_names",
    "module_placement",
    "parse_backbone",
    "ratio_text",
    "reference_modules",
    "relu_sites",
    "resolve_placement",
]


def __getattr__(name: str) -> object:
    if name in _NEEDS_TORCH:
        return getattr(import_module(f"search_spaces.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module 'search_spaces' has no attribute {name!r}")
