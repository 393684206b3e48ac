"""The device of a training in this process, and what a training needs: time, memory, disk."""

from __future__ import annotations

import gc
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import drop_stand_in, stand_in_epochs
from trials.files.scratch import scratch_folder
from trials.fine_tuning.weights import StartingWeights
from trials.running.faults import ALONE, full_gpu_raises, out_of_memory
from trials.running.resources import GpusPerTrial
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.training.loop import drop_device_data, train
from trials.training.process import deterministic_algorithms, one_thread
from trials.training.spec import TrialSpec, untrained_network

Say: TypeAlias = Callable[[Any], None]

CONTEXT_BYTES = 2**30
"""Allowance for what a process has on a GPU beside torch's tensors: CUDA context and libraries."""
MOST_PER_GPU = 8
"""Trials, or packs, that `share_for` lets share a GPU at most."""
_BATCHES = 16  # of the epoch whose memory is measured
_VALIDATED = 1000  # images, two batches
_STEPS = 64
"""Training steps that are timed; an epoch with fewer steps is timed as a whole."""
SIZES = (2, 4, 8, 16, 32)
"""Trials in a pack, as `measured_rates` tries them."""
_TIMED_STEPS = 4
_TIMED_REPLAYS = 200
"""Steps of the epoch that it times, without and with CUDA graphs. An epoch before it warms up."""


def local_device(gpus_per_trial: GpusPerTrial = None) -> str:
    """The device of a training in this process: `cuda` if it sees a GPU, else `cpu`.

    Args:
        gpus_per_trial: 0: `cpu`; a training has no GPU, even if this process sees one.
    """
    return "cuda" if gpus_per_trial != 0 and torch.cuda.is_available() else "cpu"


def free_device_memory() -> None:
    """Free what this process keeps on a GPU between trainings: stand-in, images, unused blocks."""
    drop_stand_in()
    drop_device_data()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()


def measured_memory(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    compiled: bool,
    captured: bool,
    weights: StartingWeights | None = None,
    *,
    device: str,
    say: Say,
) -> tuple[int, int]:
    """(bytes that a training needs on the GPU, bytes of the GPU), by a short epoch.

    The need is the peak of torch's reserved memory, the images left out of the short epoch, and
    `CONTEXT_BYTES`.

    Args:
        specs: one trial, or the members of one pack.
        data: to train on.
        compiled, captured: how one trial is trained; packs are not compiled.
        weights: from which one trial starts.
        device: `cuda`; nothing else may run on it.

    Raises:
        InputError: the GPU has too little memory.
    """
    recipe = replace(specs[0].recipe, epochs=1)
    count = (_BATCHES * recipe.batch_size) + len(data.train) % recipe.batch_size
    short = replace(
        data, train=data.train.first(count), validation=data.validation.first(_VALIDATED)
    )
    torch.cuda.reset_peak_memory_stats()
    shorter = [replace(spec, recipe=recipe) for spec in specs]
    with full_gpu_raises(lambda why: InputError(why + ALONE)):
        if len(shorter) == 1:
            run_trial(
                shorter[0],
                short,
                device=device,
                compiled=compiled,
                captured=captured,
                weights=weights,
            )
        else:
            _epochs_of_pack(shorter, short, device, captured, TrialFiles())
    left_out = sum(
        whole.images.nbytes - part.images.nbytes
        for whole, part in ((data.train, short.train), (data.validation, short.validation))
    )
    needed = torch.cuda.max_memory_reserved() + left_out + CONTEXT_BYTES
    return needed, torch.cuda.get_device_properties(0).total_memory


def share_for(needed: int, total: int) -> float:
    """The share of a GPU for a training: 1/n, for the largest n of trainings that fit at once.

    At most `MOST_PER_GPU` fit. The share is rounded down to Ray's steps of 0.0001, so that n
    shares are not more than one GPU.

    Args:
        needed, total: bytes that a training needs, and that a GPU has.
    """
    at_once = max(1, min(MOST_PER_GPU, total // needed))
    return 10_000 // at_once / 10_000


@dataclass(frozen=True, kw_only=True)
class TrialNeeds:
    """What a trial needs, or all trials of a pack together.

    Attributes:
        epoch_seconds: of one epoch.
        other_seconds: of a trial beside its epochs.
        memory: bytes of the process, and on a GPU those of the GPU.
        weights, checkpoint: bytes of the two files of one trial.
        measured_seconds: that the measurement took in its process.
        start_seconds: until a process begins its first trial.
    """

    epoch_seconds: float
    other_seconds: float
    memory: int
    weights: int
    checkpoint: int
    measured_seconds: float = 0.0
    start_seconds: float = 0.0

    def seconds(self, epochs: int) -> float:
        """Of a trial that trains to the end."""
        return self.other_seconds + epochs * self.epoch_seconds


def measured_needs(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    compiled: bool,
    captured: bool,
    deterministic: bool,
    *,
    device: str,
    say: Say,
    weights: StartingWeights | None = None,
) -> TrialNeeds:
    """What a trial needs, by two epochs of which the second is timed.

    If an epoch has more than `_STEPS` steps, both sets of images are cut to the same share. The
    learning rate is tiny, so that no network diverges.

    Args:
        specs: one trial, or the members of one pack.
        data: to train on.
        compiled, captured, deterministic: how the trials are trained.
        device: `cpu` or `cuda`.
        weights: from which the trials start.

    Raises:
        InputError: the training fails.
    """
    recipe = replace(specs[0].recipe, epochs=2, learning_rate=1e-6)
    shorter = [replace(spec, recipe=recipe) for spec in specs]
    share = min(1.0, _STEPS * recipe.batch_size / len(data.train))
    short = replace(
        data,
        train=data.train.first(math.ceil(share * len(data.train))),
        validation=data.validation.first(math.ceil(share * len(data.validation))),
    )
    started = time.perf_counter()
    with scratch_folder() as folder:
        files = TrialFiles(weights=folder / "weights", checkpoints=folder / "checkpoints")
        files.make_folders()
        written, checkpoint = files.weights_of(0), files.checkpoint_of(shorter[0], short)
        assert written is not None
        assert checkpoint is not None
        if len(specs) == 1:
            result = run_trial(
                shorter[0],
                short,
                device=device,
                save_to=written,
                checkpoint=checkpoint,
                compiled=compiled,
                captured=captured,
                deterministic=deterministic,
                weights=weights,
            )
            if result.failure is not None:
                raise InputError(f"the training that is measured fails: {result.failure}")
            seconds = [metrics.seconds for metrics in result.epochs]
        else:
            with deterministic_algorithms(deterministic):
                seconds = _epochs_of_pack(shorter, short, device, captured, files)
        whole = time.perf_counter() - started
        sizes = written.stat().st_size, checkpoint.path.stat().st_size
    return TrialNeeds(
        epoch_seconds=seconds[-1] / share,
        other_seconds=max(0.0, whole - sum(seconds)),
        memory=_memory(device),
        weights=sizes[0],
        checkpoint=sizes[1],
        measured_seconds=whole,
    )


def _epochs_of_pack(
    specs: Sequence[TrialSpec], data: TrainingData, device: str, captured: bool, files: TrialFiles
) -> list[float]:
    """Seconds of each epoch of a pack. Its first member writes the files that have a folder."""
    pack = PackedTraining(data, device, captured=captured)
    for number, spec in enumerate(specs):
        of_member = files if number == 0 else TrialFiles()
        pack.join(
            number,
            spec,
            save_to=of_member.weights_of(number),
            checkpoint=of_member.checkpoint_of(spec, data),
        )
    seconds = []
    for _ in range(specs[0].recipe.epochs):
        started = time.perf_counter()
        pack.epoch()
        seconds.append(time.perf_counter() - started)
    return seconds


def _memory(device: str) -> int:
    """Most bytes that this process has used, on the GPU if it trains there."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() + CONTEXT_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured_rates(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    device: str = "cpu",
    *,
    captured: bool = False,
) -> dict[int, float]:
    """Measure candidate-steps per second by size of the pack, on this device; 1: without a pack.

    Larger packs are tried until one is slower, or needs more memory than the GPU has. Each is timed
    over a short second epoch.

    Args:
        specs: as many as the largest of `SIZES`.
        captured: with recorded CUDA graphs.

    Raises:
        InputError: the specs cannot be packed, or one training needs more memory than the GPU has.
    """
    recipe = replace(specs[0].recipe, epochs=2)
    images = (_TIMED_REPLAYS if captured else _TIMED_STEPS) * recipe.batch_size
    short = replace(data, train=data.train.first(images), validation=data.validation.first(1))
    steps = math.ceil(len(short.train) / recipe.batch_size)
    shortened = [replace(spec, recipe=recipe) for spec in specs]
    epoch_by = stand_in_epochs(shortened[0], compiled=False, captured=captured)
    with one_thread(), full_gpu_raises(lambda why: InputError(why + ALONE)):
        alone = untrained_network(shortened[0], data)
        *_, last = train(alone, short, recipe, seed=0, device=device, epoch_by=epoch_by)
    rates = {1: steps / last.seconds}
    for size in SIZES:
        try:
            *_, last_seconds = _epochs_of_pack(
                shortened[:size], short, device, captured, TrialFiles()
            )
        except RuntimeError as error:
            if out_of_memory(error) is None:
                raise
            break
        rates[size] = size * steps / last_seconds
        if rates[size] < max(rates.values()):
            break
    return rates
