"""One graph for all placements: compiled, captured, or both.

A reference network chooses between `nn.ReLU` and `nn.Identity` in Python, so every placement would
need a graph of its own. Here one gated network, the stand-in, is trained in place of each network
in turn. Its gates are tensors. Weights, BatchNorm statistics and the state of the optimizer are
copied in before each epoch and back after it. So one graph serves all trials of a process.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.backbones import Activation
from search_spaces.networks.build import AnyNetwork, build
from search_spaces.networks.gates import insert_gates, require_gates_fit, set_gates
from search_spaces.placement import Placement
from trials.compat import compiled_once, training_format
from trials.data.augmentation import EpochDraws
from trials.fast.cuda_graphs import ReplayedEpoch
from trials.fast.fusion import fuse_on_gpu
from trials.fast.weight_copies import STEP_COUNT, copy_tensors
from trials.training.loop import (
    DeviceData,
    EpochSums,
    TrainsEpoch,
    loss_function,
    training_step,
)
from trials.training.optimizer import Optimizer, optimizer_of
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec


def stand_in_epochs(spec: TrialSpec, *, compiled: bool, captured: bool) -> TrainsEpoch | None:
    """How the epochs of a trial are trained; None: by `train_epoch`, the reference.

    Args:
        compiled: compile loss and gradients of whole batches with `torch.compile`; a short last
            batch runs eager. A second compilation is an error.
        captured: record each step as a CUDA graph and replay it (on CUDA only; elsewhere the same
            steps run without a record).

    Raises:
        InputError: the placement or activation cannot share a graph with others.
    """
    if not (compiled or captured):
        return None
    require_gates_fit(spec.placement, spec.activation)
    return partial(
        train_by_stand_in,
        placement=spec.placement,
        activation=spec.activation,
        compiled=compiled,
        captured=captured,
    )


def train_by_stand_in(
    model: nn.Module,
    optimizer: Optimizer,
    data: DeviceData,
    draws: EpochDraws,
    epoch: int,
    *,
    placement: Placement,
    activation: Activation,
    compiled: bool,
    captured: bool,
) -> tuple[float, float]:
    """`train_epoch` of a network by the stand-in of this process.

    Args:
        placement, activation: of the network.
        compiled, captured: as for `stand_in_epochs`.

    Returns:
        (mean cross-entropy in nats, accuracy 0 to 1) over the epoch.

    Raises:
        InputError: placement or activation have shapes or weights of their own.
        torch._dynamo.exc.RecompileError: one graph did not serve all.
    """
    assert isinstance(model, AnyNetwork)
    require_gates_fit(placement, activation)
    kind = _Kind(
        backbone=model.backbone,
        num_classes=model.num_classes,
        in_channels=model.in_channels,
        activation=activation,
        recipe=optimizer.recipe,
        images=tuple(data.images.shape),
        image_size=data.image_size,
        draws=len(draws.tensors),
        device=data.images.device,
        compiled=compiled,
        captured=captured,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    stand_in = _stand_in(kind)
    stand_in.take(model, placement, optimizer)
    means = stand_in.train(data, draws, epoch)
    stand_in.give(model, optimizer)
    return means


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What all trainings by one stand-in have in common."""

    backbone: Architecture
    num_classes: int
    in_channels: int
    activation: Activation
    recipe: Recipe
    images: tuple[int, ...]
    image_size: tuple[int, int]
    draws: int
    device: torch.device
    compiled: bool
    captured: bool
    deterministic: bool


class _StandIn:
    """A gated network with its optimizer, and the tensors that its steps read and write."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind
        self.model = _gated_network(kind)
        self._format = training_format(self.model, kind.image_size, kind.device)
        self.model = self.model.to(memory_format=self._format).train()
        if not kind.compiled:
            fuse_on_gpu(self.model, kind.recipe)
        self.optimizer = optimizer_of(self.model, kind.recipe)
        self._sums = EpochSums(kind.device)
        self._data: DeviceData | None = None
        self._draws: EpochDraws | None = None
        self._eager_loss = loss_function(kind.recipe)
        self._loss_of = compiled_once(self._eager_loss) if kind.compiled else self._eager_loss
        self._epoch = self._new_epoch()

    def train(self, data: DeviceData, draws: EpochDraws, epoch: int) -> tuple[float, float]:
        """Train an epoch with the weights and gates that it holds; see `TrainsEpoch`."""
        self._hold(data, draws)
        self._sums.reset()
        rates = self._kind.recipe.learning_rates(epoch, self._epoch.steps)
        self._epoch.run([[rate] for rate in rates])
        return self._sums.means(len(data.labels))

    def take(self, model: AnyNetwork, placement: Placement, optimizer: Optimizer) -> None:
        """Copy weights and optimizer state in, and set the gates."""
        copy_tensors(model.state_dict(), self.model.state_dict())
        copy_tensors(optimizer.state, self.optimizer.state)
        set_gates(self.model, placement)

    def give(self, model: AnyNetwork, optimizer: Optimizer) -> None:
        """Copy weights and optimizer state back after an epoch."""
        copy_tensors(self.model.state_dict(), model.state_dict())
        copy_tensors(self.optimizer.state, optimizer.state)
        for name, tensor in model.state_dict().items():
            if name.endswith(STEP_COUNT):
                tensor.add_(self._epoch.steps)

    def _step(self, places: Tensor, rate: Tensor) -> None:
        assert self._data is not None
        assert self._draws is not None
        batch = self._data.batch(self._draws.at(places), self._format)
        is_whole = len(places) == self._kind.recipe.batch_size
        loss_of = self._loss_of if is_whole else self._eager_loss
        training_step(
            self.model, self.optimizer, batch, rate=rate, sums=self._sums, loss_of=loss_of
        )

    def _new_epoch(self) -> ReplayedEpoch:
        kind = self._kind
        return ReplayedEpoch(
            self._step,
            images=kind.images[0],
            batch_size=kind.recipe.batch_size,
            rates=1,
            device=kind.device,
            captured=kind.captured and kind.device.type == "cuda",
        )

    def _hold(self, data: DeviceData, draws: EpochDraws) -> None:
        """Keep data and draws for the steps, whose record reads from fixed addresses.

        Draws are copied to where the first ones are. Data are not copied: other data need another
        record.
        """
        if self._draws is None:
            self._draws = copy.deepcopy(draws)
        for mine, theirs in zip(self._draws.tensors, draws.tensors, strict=True):
            mine.copy_(theirs)
        if data is not self._data:
            self._data, self._epoch = data, self._new_epoch()


@lru_cache(maxsize=1)
def _stand_in(kind: _Kind) -> _StandIn:
    """The only one of this process; one of another kind is dropped when the new one is built."""
    return _StandIn(kind)


def drop_stand_in() -> None:
    """Drop the stand-in of this process, with its graphs and data; the next training builds one."""
    _stand_in.cache_clear()


def _gated_network(kind: _Kind) -> AnyNetwork:
    model = build(
        kind.backbone,
        num_classes=kind.num_classes,
        in_channels=kind.in_channels,
        activation=kind.activation,
        generator=torch.Generator(),  # a trial's own draws must not change
    )
    insert_gates(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None  # saves a kernel per layer and step
    return model.to(kind.device)
