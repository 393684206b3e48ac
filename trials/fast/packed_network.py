"""K networks of one backbone as one network of grouped convolutions, and their optimizer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.networks.activations import ACTIVATIONS
from search_spaces.networks.build import Network
from search_spaces.networks.gates import Gate
from search_spaces.networks.sites import relu_sites, replace_module
from trials.compat import training_format
from trials.fast.fusion import fuse_on_gpu
from trials.fast.weight_copies import require_same_names
from trials.training.checkpoint import Checkpoint
from trials.training.metrics import EpochMetrics
from trials.training.optimizer import Optimizer, is_vector
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec


@dataclass(eq=False)
class Member:
    """A trial in a pack.

    Attributes:
        model, optimizer: its own; up to date while it is not packed.
        save_to: file for its trained weights, or None.
        checkpoint: written after each epoch, or None.
        epochs: metrics of its finished epochs.
    """

    spec: TrialSpec
    model: Network
    optimizer: Optimizer
    save_to: Path | None
    checkpoint: Checkpoint | None
    epochs: list[EpochMetrics] = field(default_factory=list)


class PackedNetwork:
    """The members' networks side by side, and their optimizer.

    Nesterov SGD as in `torch.optim.SGD`, but with a learning rate for each member. The weights are
    in one vector, so that a step of all of them is a few operations. Other recipes are refused by
    `require_packable`.

    Attributes:
        memory_format: of its images.

    Raises:
        InputError: a member's network has other tensors than the others.
    """

    def __init__(self, members: Sequence[Member], image_size: tuple[int, int]) -> None:
        self.members = tuple(members)
        for member in members[1:]:
            require_same_names(member.model.state_dict(), members[0].model.state_dict())
        self.model = _side_by_side_network(members)
        self._recipe = members[0].spec.recipe
        device = next(self.model.parameters()).device
        self.memory_format, self._weight_format = fastest_formats(self._recipe, device)
        if training_format(self.model, image_size, device) == torch.contiguous_format:
            self.memory_format = torch.contiguous_format
        self._names = [name for name, _ in self.model.named_parameters()]
        self._parameters = [parameter for _, parameter in self.model.named_parameters()]
        with torch.no_grad():
            self._weights = self._in_a_row(self._parameters)
            self._momenta = self._in_a_row(
                _joined([m.optimizer.state[name] for m in members]) for name in self._names
            )
            for parameter, values in zip(self._parameters, self._cut(self._weights), strict=True):
                parameter.data = values
        owners = torch.arange(len(members), device=self._weights.device)
        self._owners = torch.cat(
            [owners.repeat_interleave(p.numel() // len(members)) for p in self._parameters]
        )
        self._decay = self._decay_of_each() if self._recipe.spare_norms else None

    def logits(self, x: Tensor) -> Tensor:
        """(K, B, classes) of images (B, K * channels, H, W)."""
        logits: Tensor = self.model(x)
        return logits.transpose(0, 1)

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses (K,), with label smoothing, and logits (K, B, classes); y is (K, B)."""
        logits = self.logits(x)
        return cross_entropies(logits, y, self._recipe.label_smoothing), logits

    def step(self, losses: Tensor, rates: Tensor) -> None:
        """One step of each member. Losses are summed: a mean would shrink every gradient.

        Args:
            losses: of the members, (K,).
            rates: learning rates, (1,) for all or (K,).
        """
        self.model.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            move = self._in_a_row(p.grad for p in self._parameters if p.grad is not None)
            if self._decay is None:
                move.add_(self._weights, alpha=self._recipe.weight_decay)
            else:
                move.addcmul_(self._weights, self._decay)
            self._momenta.mul_(self._recipe.momentum).add_(move)
            move.add_(self._momenta, alpha=self._recipe.momentum)
            self._weights.sub_(move.mul_(rates if len(rates) == 1 else rates[self._owners]))

    @torch.no_grad()
    def copy_back(self, member: Member) -> None:
        """Copy weights, statistics, step counters and momenta to a member's own network."""
        place, count = self.members.index(member), len(self.members)
        momenta = dict(zip(self._names, self._cut(self._momenta), strict=True))
        for packed, own in (
            (self.model.state_dict(), member.model.state_dict()),
            (momenta, member.optimizer.state),
        ):
            require_same_names(own, packed)
            for name, tensor in own.items():
                tensor.copy_(_part(packed[name], place, count).view_as(tensor))

    def _decay_of_each(self) -> Tensor:
        """The weight decay of each weight, in one vector; see `Recipe.spare_norms`."""
        shapes = dict(self.members[0].model.named_parameters())
        decays = [
            torch.zeros_like(p)
            if is_vector(shapes[name])
            else torch.full_like(p, self._recipe.weight_decay)
            for name, p in zip(self._names, self._parameters, strict=True)
        ]
        return self._in_a_row(decays)

    def _in_a_row(self, tensors: Iterable[Tensor]) -> Tensor:
        """One vector; each tensor in the order of its memory format."""
        return torch.cat([self._permuted(t, 0, 2, 3, 1).reshape(-1) for t in tensors])

    def _cut(self, row: Tensor) -> list[Tensor]:
        """The inverse: views of a vector in the shapes of the parameters."""
        parts = torch.split(row, [parameter.numel() for parameter in self._parameters])
        return [
            self._permuted(part.view(self._permuted(p, 0, 2, 3, 1).shape), 0, 3, 1, 2)
            for part, p in zip(parts, self._parameters, strict=True)
        ]

    def _permuted(self, tensor: Tensor, *order: int) -> Tensor:
        """Weights of convolutions with their dimensions in another order, for channels_last."""
        is_moved = tensor.dim() == 4 and self._weight_format == torch.channels_last
        return tensor.permute(order) if is_moved else tensor


class _PackedGate(Gate):
    """Applies the activation to the groups of channels whose member keeps it.

    Its bits are (K, 1, 1, 1).
    """

    floor: Tensor

    def __init__(self, activation: nn.Module, are_kept: Sequence[bool]) -> None:
        bits = torch.tensor(are_kept).view(-1, 1, 1, 1)
        super().__init__(activation, is_kept=bits)
        self._are_kept = tuple(are_kept)
        self.register_buffer("floor", torch.where(bits, 0.0, -torch.inf), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_applied or not any(self._are_kept):
            return x
        if all(self._are_kept):
            kept: Tensor = self.activation(x)
            return kept
        groups = _apart(x, 1, len(self._are_kept))
        if isinstance(self.activation, nn.ReLU):
            floored: Tensor = _Floored.apply(groups, self.floor.to(x.dtype))
            return floored.flatten(1, 2)
        return torch.where(self.bit, self.activation(groups), groups).flatten(1, 2)


class _Floored(torch.autograd.Function):
    """max(x, floor): the floor is 0 for ReLU and minus infinity for the identity.

    Half as many passes over memory as `torch.where`. The gradient equals those of ReLU and
    identity, also where x is zero: `nn.ReLU` then has gradient zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: Tensor) -> Tensor:
        y = torch.maximum(x, floor)
        ctx.save_for_backward(y, floor)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        y, floor = ctx.saved_tensors
        return torch.where(y > floor, gradient, 0.0), None


class _PackedLinear(nn.Module):
    """(B, K * in) -> (B, K, out): a classifier for each member."""

    def __init__(self, linear: nn.Linear, count: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._count = count

    def forward(self, x: Tensor) -> Tensor:
        features = _apart(x, 1, self._count).transpose(0, 1)
        weight = _apart(self.weight, 0, self._count).transpose(1, 2)
        logits = torch.baddbmm(self.bias.view(self._count, 1, -1), features, weight)
        return logits.transpose(0, 1)


def _side_by_side_network(members: Sequence[Member]) -> Network:
    """One network, each tensor of which is the concatenation of the members' tensors."""
    models, count = [member.model for member in members], len(members)
    activation = ACTIVATIONS[members[0].spec.activation]
    packed = copy.deepcopy(models[0])
    placements = zip(*(member.spec.placement for member in members), strict=True)
    for site, are_kept in zip(relu_sites(packed), placements, strict=True):
        replace_module(packed, site, _PackedGate(activation(), are_kept))
    replace_module(packed, "classifier", _PackedLinear(packed.classifier, count))
    states = [model.state_dict() for model in models]
    for path, module in packed.named_modules():
        prefix = f"{path}." if path else ""
        for name, _ in list(module.named_parameters(recurse=False)):
            values = _joined([state[prefix + name] for state in states])
            setattr(module, name, nn.Parameter(values))
        for name, _ in list(module.named_buffers(recurse=False)):
            if prefix + name in states[0]:
                setattr(module, name, _joined([state[prefix + name] for state in states]))
        if isinstance(module, nn.Conv2d):
            module.in_channels *= count
            module.out_channels *= count
            module.groups = count
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features *= count
    packed = packed.to(next(models[0].parameters()).device)
    if members[0].spec.recipe.precision != "fp32":  # its packs are in NCHW
        fuse_on_gpu(packed, members[0].spec.recipe)
    return packed


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenated along the first dimension; tensors () become a vector."""
    return torch.cat([tensor.reshape(1) if tensor.dim() == 0 else tensor for tensor in tensors])


def _part(joined: Tensor, place: int, count: int) -> Tensor:
    return _apart(joined, 0, count)[place]


def _apart(joined: Tensor, dim: int, count: int) -> Tensor:
    """(..., K * n, ...) -> (..., K, n, ...)."""
    parts: Tensor = joined.unflatten(dim, (count, -1))  # type: ignore[no-untyped-call]
    return parts


def fastest_formats(
    recipe: Recipe, device: torch.device
) -> tuple[torch.memory_format, torch.memory_format]:
    """The memory formats of a pack's images and of its convolutions' weights, for speed.

    On CUDA images and weights have the same format, so that no step converts one to the other. It
    was chosen by captured steps of plain-20, batch 64, on an H200, in microseconds for each
    candidate and step, packs of 8 / 32 (all with contiguous weights, and by cuDNN alone; see
    `fuse_on_gpu`):

    | precision | channels_last | contiguous (NCHW) |
    |---|---|---|
    | fp32 | 1,755 / 1,503 | 1,479 / 1,335 |
    | tf32 | 774 / 592 | 844 / 645 |
    | bf16 | 447 / 334 | 604 / 434 |
    """
    if device.type == "cpu":
        return torch.preserve_format, torch.contiguous_format
    if recipe.precision == "fp32":
        return torch.contiguous_format, torch.contiguous_format
    return torch.channels_last, torch.channels_last


def side_by_side(
    images: Tensor, count: int, memory_format: torch.memory_format = torch.preserve_format
) -> Tensor:
    """(K * B, C, H, W) -> (B, K * C, H, W) in a memory format.

    With `torch.preserve_format` nothing is copied but to join the images: they are in channels_last
    if K, B and C are larger than one.
    """
    if memory_format == torch.contiguous_format:
        return _apart(images, 0, count).transpose(0, 1).flatten(1, 2).contiguous()
    apart = _apart(images.permute(0, 2, 3, 1), 0, count)  # K, B, H, W, C
    placed = apart.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)
    if memory_format == torch.preserve_format:
        return placed
    return placed.contiguous(memory_format=memory_format)


def cross_entropies(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Means (K,) of logits (K, B, classes) and labels (K, B), with label smoothing."""
    flat = functional.cross_entropy(
        logits.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=smoothing
    )
    return flat.view(y.shape).mean(1)
