"""Find the ReLU sites of a built network, and set or read its placement."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from search_spaces.any_network.function_network import FunctionNetwork
from search_spaces.backbones import Activation, check_activation
from search_spaces.errors import InputError, require_type
from search_spaces.networks.activations import ACTIVATIONS, activation_name
from search_spaces.networks.blocks import (
    AbsentNorm,
    PreBasicBlock,
    PreBottleneckBlock,
    Sites,
    batch_norm,
)
from search_spaces.placement import Placement


def relu_sites(model: nn.Module) -> tuple[str, ...]:
    """Module paths of all searchable ReLU sites, in forward order.

    Stem and final ReLU are not sites. Dropped sites, which hold an `nn.Identity`, are included.
    """
    return tuple(norms_before(model))


def current_placement(model: nn.Module) -> Placement:
    """The placement of a network without gates, read from its modules."""
    bits = "".join(
        "1" if _is_kept(model.get_submodule(site)) else "0" for site in relu_sites(model)
    )
    ends = any(isinstance(block.end_norm, nn.BatchNorm2d) for block in _ended_blocks(model))
    dropped = any(isinstance(module, AbsentNorm) for module in model.modules())
    return Placement(bits, "end" if ends else "none", "drop" if dropped else "keep")


def current_activation(model: nn.Module) -> Activation:
    """The activation of the kept sites, read from the modules; `relu` if no site is kept."""
    return _activation_at(model, relu_sites(model))


def apply_placement(
    model: nn.Module, placement: Placement, activation: Activation | None = None
) -> None:
    """Put an activation at kept sites and `nn.Identity` at dropped sites, in place.

    The weights stay, with three exceptions. `block_norm="end"` adds a new BatchNorm at the end of
    every residual branch that has none. A BatchNorm that `dropped_norm="drop"` removed is replaced
    by a new one when it is needed again. CReLU doubles channels, so the convolution or classifier
    after it is replaced by a new one.

    Args:
        activation: activation of the kept sites; None keeps the one of the model.

    Raises:
        InputError: an argument of another type, or a placement or an activation that does not fit
            the model.
    """
    require_type("placement", placement, Placement, "a Placement, such as Placement.parse('01*27')")
    if isinstance(model, FunctionNetwork):
        if activation not in (None, "relu"):
            raise InputError(
                f"activation {activation} is for the six families; {model.backbone.name} keeps its "
                "own activations, so leave it out"
            )
        model.place(placement)
        return
    sites = norms_before(model)
    if len(sites) != len(placement):
        raise InputError(
            f"placement {placement.text[:60]!r} has {len(placement)} sites but the model has "
            f"{len(sites)}; write one bit for each ReLU site"
        )
    if placement.block_norm == "end" and not _ended_blocks(model):
        raise InputError("@end-norm needs pre-activation residual blocks, and this model has none")
    present = _activation_at(model, sites)
    activation = present if activation is None else check_activation(activation)
    if "crelu" in (present, activation):
        rehearsal = copy.deepcopy(model)  # if it is refused, the model must stay as it was
        _swap(rehearsal, sites, placement, activation)
        _fit_channels(rehearsal)
    _swap(model, sites, placement, activation)
    if "crelu" in (present, activation):
        _fit_channels(model)


def _swap(model: nn.Module, sites: Sites, placement: Placement, activation: Activation) -> None:
    """Set activations, identities and norms for a placement; do not change any channels."""
    for (site, norm), kept in zip(sites.items(), placement, strict=True):
        wanted = ACTIVATIONS[activation] if kept else nn.Identity
        if type(model.get_submodule(site)) is not wanted:
            replace_module(model, site, wanted())
        if norm is not None:
            _set_norm(model, norm, present=kept or placement.dropped_norm == "keep")
    for block in _ended_blocks(model):
        if placement.block_norm == "none":
            block.end_norm = nn.Identity().train(block.training)
        elif not isinstance(block.end_norm, nn.BatchNorm2d):
            replace_module(block, "end_norm", batch_norm(block.channels_out))


def norms_before(model: nn.Module) -> Sites:
    """Path of every site, in forward order -> path of the BatchNorm directly before it, or None."""
    require_type("model", model, nn.Module, "a network made by search_spaces.build")
    if isinstance(model, FunctionNetwork):
        return dict.fromkeys(model.site_paths)
    sites: Sites = {}
    for path, block in model.named_modules():
        prefix = f"{path}." if path else ""
        for site, norm in getattr(block, "sites", {}).items():
            sites[prefix + site] = None if norm is None else prefix + norm
    return sites


def _activation_at(model: nn.Module, sites: Iterable[str]) -> Activation:
    modules = map(model.get_submodule, sites)
    return next((activation_name(module) for module in modules if _is_kept(module)), "relu")


def _is_kept(module: nn.Module) -> bool:
    return not isinstance(module, nn.Identity)


def _set_norm(model: nn.Module, path: str, *, present: bool) -> None:
    norm = model.get_submodule(path)
    if present and isinstance(norm, AbsentNorm):
        replace_module(model, path, batch_norm(norm.channels))
    elif not present and isinstance(norm, nn.BatchNorm2d):
        replace_module(model, path, AbsentNorm(norm.num_features))


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path, with the device, dtype and mode of the module that holds it."""
    owner = model.get_submodule(path.rpartition(".")[0])
    weight = next(owner.parameters(), None)
    if weight is not None:
        module = module.to(weight.device, weight.dtype)
    setattr(owner, path.rpartition(".")[2], module.train(owner.training))


def _fit_channels(model: nn.Module) -> None:
    """Fit the input channels of every convolution and the classifier, by a small forward pass.

    Raises:
        InputError: a shortcut would add tensors of different channels.
    """

    def fit(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        channels = inputs[0].shape[1]
        if isinstance(module, nn.Linear) and module.in_features != channels:
            module.in_features = channels
            module.weight = nn.Parameter(module.weight.new_empty(module.out_features, channels))
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d) and module.in_channels != channels:
            shape = (module.out_channels, channels, *module.kernel_size)
            module.in_channels = channels
            module.weight = nn.Parameter(module.weight.new_empty(shape))
            module.reset_parameters()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(fit) for layer in layers]
    was_training = model.training
    if layers[0].weight.shape[0] < 2:
        raise InputError("activation crelu needs a width of at least 2; the width is 1")
    try:
        images = layers[0].weight.new_zeros(1, layers[0].weight.shape[1], 8, 8)
        with torch.no_grad():
            model.eval()(images)
    except RuntimeError as error:
        raise InputError(
            "activation crelu doubles the channels of a kept site, and after a sum a shortcut "
            "would then add tensors of different channels; drop the ReLUs after the sums "
            "(2:1/second in resnet), or use another activation"
        ) from error
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


def _ended_blocks(model: nn.Module) -> list[PreBasicBlock | PreBottleneckBlock]:
    return [m for m in model.modules() if isinstance(m, PreBasicBlock | PreBottleneckBlock)]
