"""Training and validation epochs of a pack with fixed members, all members at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trials.data.augmentation import EpochDraws, crop_and_flip
from trials.fast.cuda_graphs import ReplayedEpoch
from trials.fast.packed_network import Member, PackedNetwork, cross_entropies, side_by_side
from trials.training.evaluation import EVALUATION_BATCH, autocast, precise_statistics
from trials.training.loop import DeviceData
from trials.training.process import in_precision


class PackedEpochs:
    """Trains and validates K members as one network.

    Args:
        members: members; those with other numbers of finished epochs have other learning rates.
        data: the data of all members.
        captured: record the steps as CUDA graphs (on CUDA only; elsewhere they run without).
    """

    def __init__(self, members: Sequence[Member], data: DeviceData, *, captured: bool) -> None:
        self.members = tuple(members)
        self.network = PackedNetwork(members, data.image_size)
        self._data = data
        self._recipe = members[0].spec.recipe
        device, count = data.images.device, len(data.labels)
        self._draws: EpochDraws | None = None
        self._loss_sums, self._correct = (torch.zeros(len(members), device=device) for _ in "lc")
        in_step = len({len(member.epochs) for member in members}) == 1
        self._steps = ReplayedEpoch(
            self._step,
            images=count,
            batch_size=self._recipe.batch_size,
            rates=1 if in_step else len(members),
            device=device,
            captured=captured and device.type == "cuda",
        )

    def train(self, draws: Sequence[EpochDraws]) -> list[tuple[float, float]]:
        """Train an epoch, each member on the images of its own draws; (loss, accuracy) of each."""
        drawn = [
            torch.stack(of_all) for of_all in zip(*(draw.tensors for draw in draws), strict=True)
        ]
        if self._draws is None:
            self._draws = EpochDraws(*drawn)
        for ours, theirs in zip(self._draws.tensors, drawn, strict=True):
            ours.copy_(theirs)  # a record reads from fixed addresses
        self._loss_sums.zero_()
        self._correct.zero_()
        self.network.model.train()
        rates = [
            self._recipe.learning_rates(len(member.epochs) + 1, self._steps.steps)
            for member in self.members
        ]
        of_each = list(zip(*rates, strict=True))
        self._steps.run([step[: self._steps.rates] for step in of_each])
        return _means(self._loss_sums, self._correct, len(self._data.labels))

    def _step(self, places: Tensor, rates: Tensor) -> None:
        assert self._draws is not None
        drawn = self._draws.at(places)
        draws = EpochDraws(*(tensor.flatten() for tensor in drawn.tensors))
        images = crop_and_flip(self._data.images, draws, *self._data.image_size)
        x = self._side_by_side(self._data.normalise(images))
        y = self._data.labels[draws.order].view_as(drawn.order)
        with autocast(self._recipe, x.device):
            losses, logits = self.network.losses(x, y)
        self.network.step(losses, rates)
        self._loss_sums += losses.detach() * len(places)
        self._correct += (logits.detach().argmax(2) == y).sum(1)

    def validate(self) -> list[tuple[float, float]]:
        """(mean cross-entropy in nats, accuracy 0 to 1) of each member in eval mode."""
        return self.score(*self._data.validation)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor) -> list[tuple[float, float]]:
        """As `validate`, on other images: uint8 (N, H, W, C), with labels (N,), on the device."""
        count = len(self.members)
        self.network.model.eval()
        loss_sums = torch.zeros(count, device=images.device, dtype=torch.float64)
        correct = torch.zeros(count, device=images.device)
        size = EVALUATION_BATCH if images.is_cuda else max(1, EVALUATION_BATCH // count)
        batches = (torch.split(tensor, size) for tensor in (images, labels))
        with in_precision(self._recipe):
            for pixels, y in zip(*batches, strict=True):
                with autocast(self._recipe, images.device):
                    logits = self.network.logits(self._beside(pixels)).float()
                loss_sums += cross_entropies(logits, y.expand(count, -1)).double() * len(y)
                correct += (logits.argmax(2) == y).sum(1)
        return _means(loss_sums, correct, len(labels))

    def precise_validate(self) -> list[tuple[float, float]]:
        """As `validate`, with the statistics of the present weights; see `precise_statistics`."""
        x = self._beside(self._data.few_images())
        with precise_statistics(self.network.model, x, self._recipe):
            return self.validate()

    def _beside(self, pixels: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, K * C, H, W), normalised: the same images for each member."""
        x = self._data.normalise(pixels)
        return self._side_by_side(x.repeat(len(self.members), 1, 1, 1))

    def _side_by_side(self, images: Tensor) -> Tensor:
        return side_by_side(images, len(self.members), self.network.memory_format)


def _means(loss_sums: Tensor, correct: Tensor, images: int) -> list[tuple[float, float]]:
    totals = zip(loss_sums.tolist(), correct.tolist(), strict=True)
    return [(loss / images, right / images) for loss, right in totals]
