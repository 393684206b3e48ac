"""Find the ReLU sites of a built network and set its placement."""

from __future__ import annotations

from torch import nn

from search_spaces.blocks import PreBasicBlock, PreBottleneckBlock, batch_norm
from search_spaces.errors import InputError
from search_spaces.placement import Placement


def relu_sites(model: nn.Module) -> tuple[str, ...]:
    """Module paths of all searchable ReLU sites, in forward order.

    Stem and final ReLUs are not sites. Dropped sites are listed too: they hold an `nn.Identity`.
    """
    return tuple(
        f"{path}.{site}" if path else site
        for path, block in model.named_modules()
        for site in getattr(block, "sites", ())
    )


def current_placement(model: nn.Module) -> Placement:
    """The placement read off the modules themselves."""
    kept = (isinstance(model.get_submodule(site), nn.ReLU) for site in relu_sites(model))
    ends = any(isinstance(block.end_norm, nn.BatchNorm2d) for block in _ended_blocks(model))
    return Placement("".join("1" if k else "0" for k in kept), "end" if ends else "none")


def apply_placement(model: nn.Module, placement: Placement) -> None:
    """Put `nn.ReLU` at kept sites and `nn.Identity` at dropped ones, in place.

    Weights are not touched, so a trained model keeps its parameters under another placement.
    `block_norm="end"` adds a fresh BatchNorm at the end of every residual branch that has none.

    Raises:
        InputError: the placement does not fit the model.
    """
    sites = relu_sites(model)
    if len(sites) != len(placement):
        raise InputError(
            f"placement {placement.text[:60]!r} has {len(placement)} sites but the model has "
            f"{len(sites)}; write one bit for each ReLU site"
        )
    blocks = _ended_blocks(model)
    if placement.block_norm == "end" and not blocks:
        raise InputError("@end-norm needs pre-activation residual blocks, and this model has none")
    for site, kept in zip(sites, placement, strict=True):
        path, _, attribute = site.rpartition(".")
        wanted = nn.ReLU if kept else nn.Identity
        owner = model.get_submodule(path)
        if not isinstance(getattr(owner, attribute), wanted):
            setattr(owner, attribute, wanted().train(owner.training))
    for block in blocks:
        if placement.block_norm == "none":
            block.end_norm = nn.Identity().train(block.training)
        elif not isinstance(block.end_norm, nn.BatchNorm2d):
            weight = next(block.parameters())
            norm = batch_norm(block.channels_out).to(weight.device, weight.dtype)
            block.end_norm = norm.train(block.training)


def _ended_blocks(model: nn.Module) -> list[PreBasicBlock | PreBottleneckBlock]:
    return [m for m in model.modules() if isinstance(m, PreBasicBlock | PreBottleneckBlock)]
