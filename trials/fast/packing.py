"""Several trials trained together as one network of grouped convolutions: a pack.

All placements of a backbone have the same tensor shapes. So K of them fit side by side in the
channels of one network: convolutions have K groups, batch statistics are per channel and so per
candidate, and each site keeps or drops its ReLU per group. One step then needs the calls of one
network only. Each member has its own seed, images, learning rate and end.

After one step a packed training equals a single one up to rounding. Later the two differ more, as
these networks amplify a difference in the last bit. So a run uses one back end for all its trials.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from search_spaces.errors import InputError
from search_spaces.networks.build import Network
from search_spaces.networks.gates import require_gates_fit
from trials.data.augmentation import EpochDraws
from trials.data.image_sets import TrainingData
from trials.fast.packed_epoch import PackedEpochs
from trials.fast.packed_network import Member
from trials.training.checkpoint import Checkpoint, save_weights
from trials.training.loop import DeviceData
from trials.training.metrics import EpochMetrics, NonFiniteLossError, require_finite
from trials.training.optimizer import optimizer_of
from trials.training.process import (
    deterministic_algorithms,
    in_precision,
    keep_freed_memory,
    one_thread,
    require_precision,
)
from trials.training.recipe import require_packable
from trials.training.spec import TrialSpec, require_images_fit, untrained_network


class PackedTraining:
    """Trains its members one epoch at a time; trials join and leave between epochs.

    ```python
    training = PackedTraining(data)
    training.join(0, first)
    training.join(1, second)
    training.epoch()   # {0: EpochMetrics, 1: EpochMetrics}, or the reason of a failure
    ```

    Args:
        data: of all members.
        device: `cpu` or `cuda`.
        captured: replay the steps as CUDA graphs, recorded anew whenever the members change.
        deterministic: repeat to the last bit on a GPU too; see `deterministic_algorithms`.
    """

    def __init__(
        self,
        data: TrainingData,
        device: str = "cpu",
        *,
        captured: bool = False,
        deterministic: bool = False,
    ) -> None:
        keep_freed_memory()
        self.members: dict[int, Member] = {}
        self._data = data
        self._device = torch.device(device)
        self._captured = captured
        self._deterministic = deterministic
        self._on_device = DeviceData.of(data, self._device)
        self._packed: PackedEpochs | None = None

    def join(
        self,
        number: int,
        spec: TrialSpec,
        *,
        save_to: Path | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> tuple[EpochMetrics, ...]:
        """Add a trial, from its checkpoint if there is one.

        Args:
            save_to: file for its trained weights.
            checkpoint: written after each of its epochs.

        Returns:
            Metrics of the epochs in its checkpoint.

        Raises:
            InputError: the spec cannot be packed, or not with the present members, or not on this
                device in its precision.
        """
        require_images_fit(self._data, spec.backbone)
        require_gates_fit(spec.placement, spec.activation)
        self._require_like_the_others(spec)
        require_packable(spec.recipe)
        if spec.fine_tuning is not None:
            raise InputError("packs train from scratch; leave out --pack, or the weights")
        require_precision(spec.recipe, self._device)
        model = untrained_network(spec, self._data).to(self._device)
        if not isinstance(model, Network):
            raise InputError(
                f"{spec.backbone.name} is no network of the six families, which alone train in "
                "packs: their convolutions are grouped; leave out --pack"
            )
        optimizer = optimizer_of(model, spec.recipe)
        restored = [] if checkpoint is None else checkpoint.restore(model, optimizer)
        self._unpack()
        member = Member(spec, model, optimizer, save_to, checkpoint)
        member.epochs = [EpochMetrics(**metrics) for metrics in restored]
        self.members[number] = member
        return tuple(member.epochs)

    def _require_like_the_others(self, spec: TrialSpec) -> None:
        for member in self.members.values():
            theirs = member.spec
            if (theirs.backbone, theirs.recipe, theirs.activation) != (
                spec.backbone,
                spec.recipe,
                spec.activation,
            ):
                raise InputError(
                    "trials of one pack may differ only in placement and seed; train "
                    f"{spec.backbone.name} of width {spec.width} with recipe "
                    f"{spec.recipe.name!r} in another pack"
                )

    def leave(self, number: int) -> None:
        """Remove a trial."""
        self._unpack()
        del self.members[number]

    def epoch(self) -> dict[int, EpochMetrics | str]:
        """Train each member for one epoch.

        Returns:
            By number its metrics, or the reason of its failure.

        Raises:
            StorageError: weights or a checkpoint cannot be written.
        """
        members = list(self.members.values())
        with (
            one_thread(),
            deterministic_algorithms(self._deterministic),
            in_precision(members[0].spec.recipe),
        ):
            started = time.perf_counter()
            if self._packed is None:
                self._packed = PackedEpochs(members, self._on_device, captured=self._captured)
            trained = self._packed.train([self._draws_of(member) for member in members])
            tested = self._packed.validate()
            seconds = (time.perf_counter() - started) / len(members)
            results: dict[int, EpochMetrics | str] = {}
            for number, member, training, validation in zip(
                self.members, members, trained, tested, strict=True
            ):
                try:
                    results[number] = self._finished(member, training, validation, seconds)
                except NonFiniteLossError as error:
                    results[number] = str(error)
            return results

    def score(self, images: Tensor, labels: Tensor) -> dict[int, tuple[float, float]]:
        """(mean cross-entropy in nats, accuracy 0 to 1) of each member after an epoch, by number.

        Args:
            images: uint8 (N, H, W, C), on the device.
            labels: int64 (N,), on the device.
        """
        assert self._packed is not None
        return dict(zip(self.members, self._packed.score(images, labels), strict=True))

    def precise_validate(self) -> dict[int, tuple[float, float]]:
        """As `score`, on the validation images and with `precise_statistics`."""
        assert self._packed is not None
        return dict(zip(self.members, self._packed.precise_validate(), strict=True))

    def _draws_of(self, member: Member) -> EpochDraws:
        """The random draws of a member's next epoch."""
        draws = EpochDraws.of_epoch(self._data, seed=member.spec.seed, epoch=len(member.epochs) + 1)
        return draws.to(self._device)

    def _finished(
        self,
        member: Member,
        training: tuple[float, float],
        validation: tuple[float, float],
        seconds: float,
    ) -> EpochMetrics:
        epoch = len(member.epochs) + 1
        require_finite(epoch, "training loss", training[0])
        require_finite(epoch, "validation loss", validation[0])
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=training[0],
            train_accuracy=training[1],
            val_loss=validation[0],
            val_accuracy=validation[1],
            seconds=seconds,
        )
        member.epochs.append(metrics)
        is_last = epoch == member.spec.recipe.epochs
        if member.checkpoint is not None or (member.save_to is not None and is_last):
            assert self._packed is not None
            self._packed.network.copy_back(member)
        if member.checkpoint is not None:
            history = [m.to_json() for m in member.epochs]
            member.checkpoint.save(member.model, member.optimizer, history)
        if member.save_to is not None and is_last:
            save_weights(member.model, member.save_to)
        return metrics

    def _unpack(self) -> None:
        """Copy the weights back to the members' own networks."""
        if self._packed is not None:
            for member in self._packed.members:
                self._packed.network.copy_back(member)
            self._packed = None
