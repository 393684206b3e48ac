"""Find the ReLU sites of a built network and set its placement."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from search_spaces.activations import ACTIVATIONS, activation_name
from search_spaces.backbones import Activation, check_activation
from search_spaces.blocks import AbsentNorm, PreBasicBlock, PreBottleneckBlock, batch_norm
from search_spaces.errors import InputError
from search_spaces.placement import Placement


def relu_sites(model: nn.Module) -> tuple[str, ...]:
    """Module paths of all searchable ReLU sites, in forward order.

    Stem and final ReLUs are not sites. Dropped sites are listed too: they hold an `nn.Identity`.
    """
    return tuple(_norm_before(model))


def current_placement(model: nn.Module) -> Placement:
    """The placement read off the modules themselves."""
    bits = "".join(
        "1" if _is_kept(model.get_submodule(site)) else "0" for site in relu_sites(model)
    )
    ends = any(isinstance(block.end_norm, nn.BatchNorm2d) for block in _ended_blocks(model))
    dropped = any(isinstance(module, AbsentNorm) for module in model.modules())
    return Placement(bits, "end" if ends else "none", "drop" if dropped else "keep")


def current_activation(model: nn.Module) -> Activation:
    """The activation of the kept sites, read off the modules; `relu` where no site is kept."""
    sites = map(model.get_submodule, relu_sites(model))
    return next((activation_name(site) for site in sites if _is_kept(site)), "relu")


def apply_placement(
    model: nn.Module, placement: Placement, activation: Activation | None = None
) -> None:
    """Put an activation at kept sites and `nn.Identity` at dropped ones, in place.

    Weights are not touched, so a trained model keeps its parameters under another placement, with
    three exceptions: `block_norm="end"` adds a fresh BatchNorm at the end of every residual branch
    that has none; a BatchNorm taken out by `dropped_norm="drop"` comes back fresh; and CReLU
    doubles channels, so that the convolution or classifier after it is made anew.

    Args:
        activation: of the kept sites; None leaves the model's own.

    Raises:
        InputError: the placement or the activation does not fit the model.
    """
    sites = relu_sites(model)
    if len(sites) != len(placement):
        raise InputError(
            f"placement {placement.text[:60]!r} has {len(placement)} sites but the model has "
            f"{len(sites)}; write one bit for each ReLU site"
        )
    if placement.block_norm == "end" and not _ended_blocks(model):
        raise InputError("@end-norm needs pre-activation residual blocks, and this model has none")
    present = current_activation(model)
    activation = present if activation is None else check_activation(activation)
    if "crelu" in (present, activation):
        rehearsal = copy.deepcopy(model)  # a refusal must leave the model alone
        _swap(rehearsal, placement, activation)
        _fit_channels(rehearsal)
    _swap(model, placement, activation)
    if "crelu" in (present, activation):
        _fit_channels(model)


def _swap(model: nn.Module, placement: Placement, activation: Activation) -> None:
    """Put the modules of a placement at its sites and norms, channels as they are."""
    for (site, norm), kept in zip(_norm_before(model).items(), placement, strict=True):
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


def _norm_before(model: nn.Module) -> dict[str, str | None]:
    """Path of every site, in forward order -> path of the BatchNorm directly before it."""
    sites: dict[str, str | None] = {}
    for path, block in model.named_modules():
        prefix = f"{path}." if path else ""
        for site, norm in getattr(block, "sites", {}).items():
            sites[prefix + site] = None if norm is None else prefix + norm
    return sites


def _is_kept(module: nn.Module) -> bool:
    return not isinstance(module, nn.Identity)


def _set_norm(model: nn.Module, path: str, *, present: bool) -> None:
    norm = model.get_submodule(path)
    if present and isinstance(norm, AbsentNorm):
        replace_module(model, path, batch_norm(norm.channels))
    elif not present and isinstance(norm, nn.BatchNorm2d):
        replace_module(model, path, AbsentNorm(norm.num_features))


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path, on the device and in the mode of its surroundings."""
    owner = model.get_submodule(path.rpartition(".")[0])
    weight = next(owner.parameters(), None)
    if weight is not None:
        module = module.to(weight.device, weight.dtype)
    setattr(owner, path.rpartition(".")[2], module.train(owner.training))


def _fit_channels(model: nn.Module) -> None:
    """Give every convolution and the classifier as many inputs as now arrive, by one small run.

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
