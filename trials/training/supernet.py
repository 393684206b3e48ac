"""Supernet: one network for all placements, trained with a random placement in each step.

It ranks placements without training each of them. All placements of a backbone have the same
`state_dict`, so weights need no mapping. How well its ranks agree with the ranks of trainings from
scratch is measured in each run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from search_spaces import Placement
from search_spaces.networks.build import AnyNetwork
from search_spaces.networks.sites import relu_sites, replace_module
from trials.data.augmentation import EpochDraws
from trials.data.image_sets import TrainingData
from trials.training.evaluation import evaluate, recalibrate
from trials.training.loop import DeviceData, recalibration_draws, train
from trials.training.metrics import EpochMetrics
from trials.training.process import in_precision, one_thread, own_random_numbers
from trials.training.spec import TrialSpec, untrained_network


class Switch(nn.Module):
    """A ReLU that can be switched off; then it is the identity."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.relu = relu
        self.is_kept = True

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) if self.is_kept else x


@dataclass(frozen=True)
class Supernet:
    """A trained network whose ReLUs can be switched off.

    Attributes:
        model: the network, with a `Switch` at every site.
        switches: the `Switch` of each site, in forward order.
        spec: how it was trained; its placement is not used.
        data: what it was trained on.
    """

    model: AnyNetwork
    switches: tuple[Switch, ...]
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
        """Train with a new random placement in every step.

        Args:
            spec: recipe, backbone and seed; use several times the epochs of a trial.
            draw: draws a placement from the space that will be ranked.
            device: `cpu` or `cuda`.
            on_epoch: called after every epoch.

        Raises:
            NonFiniteLossError: the training diverged.
        """
        with one_thread(), own_random_numbers(spec.seed, device):
            model = untrained_network(spec, data)
            switches = tuple(_insert_switches(model))
            rng = random.Random(spec.seed)

            def draw_placement(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
                if model.training:
                    _set_switches(switches, draw(rng))

            handle = model.register_forward_pre_hook(draw_placement)
            for metrics in train(model, data, spec.recipe, seed=spec.seed, device=device):
                if on_epoch is not None:
                    on_epoch(metrics)
            handle.remove()
        return cls(model, switches, spec, data)

    def score(self, placement: Placement) -> tuple[float, float]:
        """(validation loss in nats, accuracy 0 to 1) of a placement with the supernet's weights.

        The BatchNorm statistics are computed for this placement, as the average over
        `RECALIBRATION_BATCHES` training batches, the same batches for all placements.
        """
        with one_thread(), in_precision(self.spec.recipe):
            _set_switches(self.switches, placement)
            recalibrate(self.model, (self._on_device.batch(draws)[0] for draws in self._draws))
            data = self._on_device
            return evaluate(self.model, *data.validation, data.normalise, self.spec.recipe)

    @cached_property
    def _on_device(self) -> DeviceData:
        return DeviceData.of(self.data, next(self.model.parameters()).device)

    @cached_property
    def _draws(self) -> list[EpochDraws]:
        """The draws of the recalibration batches, on the device."""
        return recalibration_draws(
            self.data,
            seed=self.spec.seed,
            batch_size=self.spec.recipe.batch_size,
            device=self._on_device.images.device,
        )


def rank(net: Supernet, placements: Iterable[Placement]) -> list[tuple[Placement, float, float]]:
    """(placement, validation loss in nats, accuracy 0 to 1), the smallest loss first."""
    scored = [(placement, *net.score(placement)) for placement in placements]
    return sorted(scored, key=lambda row: row[1])


def _insert_switches(model: AnyNetwork) -> Iterator[Switch]:
    for site in relu_sites(model):
        switch = Switch(model.get_submodule(site))
        replace_module(model, site, switch)
        yield switch


def _set_switches(switches: Sequence[Switch], placement: Placement) -> None:
    for switch, is_kept in zip(switches, placement, strict=True):
        switch.is_kept = is_kept
