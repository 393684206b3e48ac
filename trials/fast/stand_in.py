"""One graph for all placements: compiled, captured, or both.

The choice between `nn.ReLU` and `nn.Identity` is made in Python, so every placement would be a
graph of its own. Here a stand-in trains in the place of each network in turn. Its gates are data;
weights, statistics and momenta are copied in before an epoch and out behind it. So one graph serves
all trials of a process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces.backbones import Activation, Backbone
from search_spaces.gates import insert_gates, require_gates_fit, set_gates
from search_spaces.networks import Network, build
from trials.data.augmentation import EpochDraws
from trials.fast.cuda_graphs import ReplayedEpoch
from trials.training.evaluation import autocast
from trials.training.loop import DeviceData, loss_and_logits
from trials.training.optimizer import NesterovSGD
from trials.training.recipe import Recipe

LossOf = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def train_by_stand_in(
    model: nn.Module,
    optimizer: NesterovSGD,
    data: DeviceData,
    draws: EpochDraws,
    epoch: int,
    *,
    activation: Activation,
    compiled: bool,
    captured: bool,
) -> tuple[float, float]:
    """`trials.training.loop.train_epoch` by the process's stand-in; (mean loss, accuracy).

    Args:
        activation: of the kept sites (an all-linear network does not show it).
        compiled: compile loss and gradients of whole batches with `torch.compile`; a short last
            batch is eager. A second compilation is an error: torch would fall back to eager after
            eight of them, in silence.
        captured: record each step as a CUDA graph and replay it (CUDA only; elsewhere the same
            steps are just taken).

    Raises:
        InputError: placement or activation have shapes or weights of their own.
        torch._dynamo.exc.RecompileError: one graph did not serve all.
    """
    assert isinstance(model, Network)
    kind = _Kind(
        backbone=model.backbone,
        num_classes=model.num_classes,
        in_channels=model.in_channels,
        activation=activation,
        recipe=optimizer.recipe,
        images=tuple(data.images.shape),
        image_size=data.image_size,
        device=data.images.device,
        compiled=compiled,
        captured=captured,
    )
    require_gates_fit(model.placement, activation)
    return _stand_in(kind).train(model, optimizer, data, draws, epoch)


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What all trainings of one stand-in have in common."""

    backbone: Backbone
    num_classes: int
    in_channels: int
    activation: Activation
    recipe: Recipe
    images: tuple[int, ...]
    image_size: tuple[int, int]
    device: torch.device
    compiled: bool
    captured: bool


class _StandIn:
    """A gated network with its optimizer, and the tensors that its steps read and write."""

    def __init__(self, kind: _Kind) -> None:
        self._recipe = kind.recipe
        self._is_fixed = kind.captured
        self.model = _gated_network(kind)
        self.optimizer = NesterovSGD(self.model, kind.recipe)
        self._loss_sum, self._correct = (torch.zeros((), device=kind.device) for _ in range(2))
        self._data: DeviceData | None = None
        self._draws: EpochDraws | None = None
        self._loss_of = _compiled_loss() if kind.compiled else loss_and_logits
        self._epoch = ReplayedEpoch(
            self._step,
            images=kind.images[0],
            batch_size=kind.recipe.batch_size,
            rates=1,
            device=kind.device,
            captured=kind.captured and kind.device.type == "cuda",
        )

    def train(
        self,
        model: Network,
        optimizer: NesterovSGD,
        data: DeviceData,
        draws: EpochDraws,
        epoch: int,
    ) -> tuple[float, float]:
        self._take(model, optimizer)
        self._hold(data, draws)
        self._loss_sum.zero_()
        self._correct.zero_()
        self._epoch.run([[rate] for rate in self._recipe.learning_rates(epoch, self._epoch.steps)])
        self._give(model, optimizer)
        count = len(data.labels)
        return self._loss_sum.item() / count, self._correct.item() / count

    def _step(self, places: Tensor, rate: Tensor) -> None:
        """A step as `train_epoch` takes it."""
        assert self._data is not None
        assert self._draws is not None
        x, y = self._data.batch(self._draws.at(places))
        loss_of = self._loss_of if len(y) == self._recipe.batch_size else loss_and_logits
        with autocast(self._recipe, x.device):
            loss, logits = loss_of(self.model, x, y)
        self.optimizer.forget_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.learning_rate = rate
        self.optimizer.step()
        self._loss_sum += loss.detach() * len(y)
        self._correct += (logits.detach().argmax(1) == y).sum()

    def _hold(self, data: DeviceData, draws: EpochDraws) -> None:
        """Take data and draws; into tensors of our own if their addresses are recorded."""
        if not self._is_fixed:
            self._data, self._draws = data, draws
        elif self._data is None or self._draws is None:
            self._data, self._draws = copy.deepcopy(data), copy.deepcopy(draws)
        else:
            for mine, theirs in zip(
                (*self._data.tensors, *self._draws.tensors),
                (*data.tensors, *draws.tensors),
                strict=True,
            ):
                mine.copy_(theirs)

    @torch.no_grad()
    def _take(self, model: Network, optimizer: NesterovSGD) -> None:
        set_gates(self.model, model.placement)
        given = model.state_dict()
        for name, mine in self.model.state_dict().items():
            mine.copy_(given[name])
        for name, momentum in self.optimizer.momenta.items():
            momentum.copy_(optimizer.momenta[name])

    @torch.no_grad()
    def _give(self, model: Network, optimizer: NesterovSGD) -> None:
        trained = self.model.state_dict()
        for name, theirs in model.state_dict().items():
            if name in trained:
                theirs.copy_(trained[name])
            else:  # num_batches_tracked
                theirs.add_(self._epoch.steps)
        for name, momentum in self.optimizer.momenta.items():
            optimizer.momenta[name].copy_(momentum)


@lru_cache(maxsize=1)
def _stand_in(kind: _Kind) -> _StandIn:
    """The one of this process; an earlier one of another kind is given up, with its graphs."""
    return _StandIn(kind)


def _gated_network(kind: _Kind) -> Network:
    model = build(
        kind.backbone,
        num_classes=kind.num_classes,
        in_channels=kind.in_channels,
        activation=kind.activation,
        generator=torch.Generator(),  # its weights will be others': leave the trial's draws alone
    )
    insert_gates(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None  # a kernel per layer and step that decides nothing
    return model.to(kind.device).to(memory_format=torch.channels_last).train()


def _compiled_loss() -> LossOf:
    """`loss_and_logits` compiled once; what was compiled before would count as recompiling."""
    import torch._dynamo

    torch._dynamo.reset()
    compiled = torch.compile(loss_and_logits, dynamic=False, fullgraph=True)

    def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch._dynamo.config.patch(error_on_recompile=True):
            return compiled(model, x, y)

    return loss_of
