"""One network for all placements: trained with a random one per step, it ranks the others.

All placements of a backbone share one `state_dict`, so weights need no mapping. How well the ranks
agree with those of trainings from scratch is measured in each run, never assumed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import Placement
from search_spaces.networks import Network
from search_spaces.sites import relu_sites, replace_module
from trials.data.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.data.splits import TrainingData
from trials.training.evaluation import evaluate, on_device
from trials.training.loop import train
from trials.training.metrics import EpochMetrics
from trials.training.process import one_thread
from trials.training.spec import TrialSpec, untrained_network

RECALIBRATION_BATCHES = 8


class Switch(nn.Module):
    """A ReLU that can be switched off; off it is the identity, on it is exactly the ReLU."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.relu = relu
        self.is_kept = True

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) if self.is_kept else x


@dataclass(frozen=True)
class Supernet:
    """A trained network whose ReLUs can be switched.

    Attributes:
        model: with a `Switch` at every site.
        spec: how it was trained; its placement is not used.
    """

    model: Network
    gates: tuple[Switch, ...]
    spec: TrialSpec
    data: TrainingData

    @classmethod
    def train(
        cls,
        spec: TrialSpec,
        data: TrainingData,
        draw: Callable[[random.Random], Placement],
        *,
        device: str = "cpu",
        on_epoch: Callable[[EpochMetrics], None] | None = None,
    ) -> Supernet:
        """Train with a placement drawn anew for every step.

        Args:
            spec: recipe, backbone and seed; a supernet wants several times a trial's epochs.
            draw: a placement, from the space that will be ranked.

        Raises:
            NonFiniteLossError: the training diverged.
        """
        with one_thread(), torch.random.fork_rng():
            torch.manual_seed(spec.seed)
            model = untrained_network(spec, data)
            gates = tuple(_gates(model))
            rng = random.Random(spec.seed)

            def switch(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
                if model.training:
                    _apply(gates, draw(rng))

            handle = model.register_forward_pre_hook(switch)
            for metrics in train(model, data, spec.recipe, seed=spec.seed, device=device):
                if on_epoch is not None:
                    on_epoch(metrics)
            handle.remove()
        return cls(model, gates, spec, data)

    def score(self, placement: Placement) -> tuple[float, float]:
        """(validation loss in nats, accuracy) with the supernet's weights.

        BatchNorm's statistics are those of the placement: they are averaged anew over
        `RECALIBRATION_BATCHES` training batches, the same ones for all placements.
        """
        with one_thread():
            _apply(self.gates, placement)
            self._recalibrate()
            device = next(self.model.parameters()).device
            data = self.data
            normalise = Normalise(data.mean, data.std, data.image_size[1], device)
            validation = on_device(data.validation, device)
            return evaluate(self.model, *validation, normalise, self.spec.recipe)

    @torch.no_grad()
    def _recalibrate(self) -> None:
        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches to come
        self.model.train()
        for images in self._batches():
            self.model(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.model.eval()

    def _batches(self) -> Iterator[Tensor]:
        data, size = self.data, self.spec.recipe.batch_size
        device = next(self.model.parameters()).device
        normalise = Normalise(data.mean, data.std, data.image_size[1], device)
        draws = EpochDraws.draw(
            len(data.train), pad=data.pad, flip=data.flip, seed=self.spec.seed, epoch=1
        ).to(device)
        images, _ = on_device(data.train, device)
        for step in range(min(RECALIBRATION_BATCHES, -(-len(images) // size))):
            batch = draws.batch(step * size, size)
            yield normalise(crop_and_flip(images, batch, *data.image_size))


def rank(net: Supernet, placements: Iterable[Placement]) -> list[tuple[Placement, float, float]]:
    """(placement, validation loss, accuracy), least loss first."""
    scored = [(placement, *net.score(placement)) for placement in placements]
    return sorted(scored, key=lambda row: row[1])


def _gates(model: Network) -> Iterator[Switch]:
    for site in relu_sites(model):
        gate = Switch(model.get_submodule(site))
        replace_module(model, site, gate)
        yield gate


def _apply(gates: Sequence[Switch], placement: Placement) -> None:
    for gate, bit in zip(gates, placement.bits, strict=True):
        gate.is_kept = bit == "1"
