"""One training with a learned gate at every ReLU.

A gate s between 0 and 1 turns a ReLU into x + s (relu(x) - x): 1 keeps it, 0 drops it. The gates
are trained together with the weights. A penalty on their sum that grows closes one after the other
(Layer Folding, arXiv:2106.09309; SNL, arXiv:2202.02340). Without a penalty the loss alone moves
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces import SearchSpace
from search_spaces.networks.build import AnyNetwork
from search_spaces.networks.sites import relu_sites, replace_module
from trials import TrainingData, TrialSpec
from trials.data.augmentation import EpochDraws
from trials.training.loop import DeviceData, loss_function, train, train_epoch
from trials.training.optimizer import Optimizer
from trials.training.process import one_thread
from trials.training.spec import untrained_network

Groups = Sequence[tuple[int, ...]]
"""Indices of the sites that share a gate, for each gate."""
GatePath = NDArray[np.float32]
"""(steps, gates): every gate s after every step."""

_TRAVEL = 10.0
"""A logit whose gradient always has the typical size moves this far in a training."""
_MOMENTUM, _SQUARE_DECAY = 0.9, 0.99


@dataclass(frozen=True)
class Penalty:
    """What an open gate costs: nats that are added to the loss at s = 1.

    Attributes:
        first, last: before the first and after the last step, with geometric growth between them;
            0 and 0: there is no penalty.
        start: logit of all gates before the first step.
    """

    first: float
    last: float
    start: float

    def at(self, share: float) -> float:
        """Nats after a share of the steps, 0 to 1."""
        return self.first * (self.last / self.first) ** share if self.first else 0.0


GROWING = Penalty(first=1e-3, last=1.0, start=3.0)
NONE = Penalty(first=0.0, last=0.0, start=0.0)


class SoftReLU(nn.Module):
    """x + s (relu(x) - x) with s = sigmoid(logits[index]).

    Args:
        relu: the module at the site.
        logits: (gates,) of all gates; not a parameter of this module.
        index: of the gate of this site.
    """

    def __init__(self, relu: nn.Module, logits: Tensor, index: int) -> None:
        super().__init__()
        self.relu = relu
        self.logits, self.index = logits, index

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sigmoid(self.logits[self.index]) * (self.relu(x) - x)


class _GateSteps:
    """Momentum steps on the logits, divided by the running root mean square of all gradients.

    All gates have one divisor, so the gate with the largest gradient moves fastest. A step is made
    as soon as a backward pass has the whole gradient of the logits.

    Attributes:
        path: gates s after each step, (gates,) each.
    """

    def __init__(self, logits: Tensor, steps: int) -> None:
        self.path: list[NDArray[np.float32]] = []
        self._rate = _TRAVEL / steps
        self._mean, self._square = torch.zeros_like(logits), 0.0
        logits.register_post_accumulate_grad_hook(self._step)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _step(self, logits: Tensor) -> None:
        assert logits.grad is not None
        self._mean = _MOMENTUM * self._mean + (1 - _MOMENTUM) * logits.grad
        square = logits.grad.square().mean().item()
        self._square = _SQUARE_DECAY * self._square + (1 - _SQUARE_DECAY) * square
        typical = math.sqrt(self._square / (1 - _SQUARE_DECAY ** (len(self.path) + 1)) + 1e-20)
        logits -= self._rate * self._mean / typical
        logits.grad = None
        self.path.append(torch.sigmoid(logits).numpy())


def tied_sites(space: SearchSpace) -> Groups:
    """The sites that have equal bits in every placement of a space: they share a gate."""
    groups: list[tuple[int, ...]] = []
    for unit in space.units:
        alike: dict[str, list[int]] = {}
        for column, site in enumerate(unit.sites):
            bits = "".join(pattern[column] for pattern in unit.choices.values())
            alike.setdefault(bits, []).append(site)
        groups += map(tuple, alike.values())
    return groups


def insert_soft_relus(model: AnyNetwork, groups: Groups, logits: Tensor) -> None:
    """Put a `SoftReLU` at every site of a network that keeps all its ReLUs, in place."""
    gate_of = {site: index for index, group in enumerate(groups) for site in group}
    for number, site in enumerate(relu_sites(model)):
        replace_module(model, site, SoftReLU(model.get_submodule(site), logits, gate_of[number]))


def trained_gates(
    spec: TrialSpec, data: TrainingData, groups: Groups, penalty: Penalty
) -> GatePath:
    """Train the weights and the gates of a network together, on a CPU.

    Args:
        spec: recipe, backbone and seed; its placement keeps all ReLUs.

    Raises:
        NonFiniteLossError: the training diverged.
    """
    recipe = spec.recipe
    steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
    logits = torch.full((len(groups),), penalty.start, requires_grad=True)
    gates = _GateSteps(logits, steps)
    loss_of_weights = loss_function(recipe)

    def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss, outputs = loss_of_weights(model, x, y)
        nats = penalty.at(len(gates.path) / steps)
        return loss + nats * torch.sigmoid(logits).sum(), outputs

    def epoch_by(
        model: nn.Module, optimizer: Optimizer, data: DeviceData, draws: EpochDraws, epoch: int
    ) -> tuple[float, float]:
        return train_epoch(model, optimizer, data, draws, epoch, loss_of=loss_of)

    with one_thread():
        model = untrained_network(spec, data)
        insert_soft_relus(model, groups, logits)
        for _ in train(model, data, recipe, seed=spec.seed, epoch_by=epoch_by):
            pass
    return np.stack(gates.path)
