"""One whole training run: TrialSpec in, TrialResult out. Needs no Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from search_spaces import InputError
from search_spaces.errors import require_type
from search_spaces.networks.build import AnyNetwork
from trials.data.image_sets import TrainingData
from trials.fast.stand_in import stand_in_epochs
from trials.fine_tuning.start import distilling_epochs, network_at_start
from trials.fine_tuning.weights import StartingWeights
from trials.training.checkpoint import Checkpoint, save_weights
from trials.training.loop import train
from trials.training.metrics import EpochMetrics, NonFiniteLossError
from trials.training.process import deterministic_algorithms, one_thread, own_random_numbers
from trials.training.spec import TrialSpec, require_images_fit


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The outcome of a training run.

    Attributes:
        spec: what was trained.
        epochs: metrics of every finished epoch.
        failure: why the run ended before its last epoch; None: it did not.
        model: the trained network, in eval mode, on the device that trained it.
    """

    spec: TrialSpec
    epochs: tuple[EpochMetrics, ...]
    failure: str | None
    model: AnyNetwork


def run_trial(
    spec: TrialSpec,
    data: TrainingData,
    *,
    device: torch.device | str = "cpu",
    save_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    compiled: bool = False,
    captured: bool = False,
    deterministic: bool = False,
    weights: StartingWeights | None = None,
) -> TrialResult:
    """Build, apply the placement, train, validate.

    ```python
    spec = TrialSpec(backbone="plain-20", placement="2:1", width=8, recipe=Recipe.named("short"))
    run_trial(spec, load_data("digits")).epochs[-1].val_accuracy
    ```

    Runs on one CPU thread, whatever the setting of the process: with other workers on the machine
    more threads are several times slower, and with one thread the metrics repeat to the last bit.

    Args:
        save_to: file for the trained weights. It is written before the last `on_epoch`, because a
            scheduler may end the run inside that call.
        checkpoint: written after every epoch; if it exists, the run continues from it.
        on_epoch: called after every epoch, also for those of the checkpoint.
        compiled: train with one compiled graph for all placements; see `stand_in_epochs`.
        captured: train with one recorded CUDA graph for all placements.
        deterministic: repeat to the last bit on a GPU too; see `deterministic_algorithms`.
        weights: from which the training starts; those that `spec.fine_tuning` names.

    Raises:
        StorageError: weights or checkpoint cannot be written.
        InputError: an argument of another type, the images are too small, the placement or
            activation cannot share a graph, other weights than the spec names, distillation by a
            shared graph, or tf32, bf16 or `captured` on a device other than CUDA.
    """
    require_type("spec", spec, TrialSpec, "a TrialSpec")
    require_type("data", data, TrainingData, "a TrainingData, such as load_data('digits')")
    require_images_fit(data, spec.backbone)
    if captured and torch.device(device).type != "cuda":
        raise InputError("captured steps need a CUDA device; leave captured out on the CPU")
    if (compiled or captured) and spec.fine_tuning is not None and spec.fine_tuning.distill:
        raise InputError(
            "compiled and captured training have no distillation; leave out one of them"
        )
    device = torch.device(device)
    with (
        one_thread(),
        deterministic_algorithms(deterministic),
        own_random_numbers(spec.seed, device),  # rrelu draws from torch's global generator
    ):
        model = network_at_start(spec, data, weights, device)
        epochs: list[EpochMetrics] = []
        failure = None
        try:
            for metrics in train(
                model,
                data,
                spec.recipe,
                seed=spec.seed,
                device=device,
                checkpoint=checkpoint,
                epoch_by=distilling_epochs(spec, data, weights, device)
                or stand_in_epochs(spec, compiled=compiled, captured=captured),
            ):
                epochs.append(metrics)
                if save_to is not None and metrics.epoch == spec.recipe.epochs:
                    save_weights(model, save_to)
                if on_epoch is not None:
                    on_epoch(metrics)
        except NonFiniteLossError as error:
            failure = str(error)
        return TrialResult(spec=spec, epochs=tuple(epochs), failure=failure, model=model.eval())
