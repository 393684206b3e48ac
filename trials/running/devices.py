"""The device of a training in this process, and the memory that trainings need on a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import drop_stand_in
from trials.fine_tuning.weights import StartingWeights
from trials.running.faults import ALONE, out_of_memory
from trials.running.resources import GpusPerTrial
from trials.running.trial import run_trial
from trials.training.loop import drop_device_data
from trials.training.spec import TrialSpec

Say: TypeAlias = Callable[[Any], None]

CONTEXT_BYTES = 2**30
"""Allowance for what a process has on a GPU beside torch's tensors: CUDA context and libraries."""
MOST_PER_GPU = 8
"""Trials, or packs, that `share_for` lets share a GPU at most."""
_BATCHES = 16  # of the epoch whose memory is measured
_VALIDATED = 1000  # images, two batches


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
    try:
        if len(specs) == 1:
            spec = replace(specs[0], recipe=recipe)
            run_trial(
                spec, short, device=device, compiled=compiled, captured=captured, weights=weights
            )
        else:
            pack = PackedTraining(short, device, captured=captured)
            for number, spec in enumerate(specs):
                pack.join(number, replace(spec, recipe=recipe))
            pack.epoch()
    except RuntimeError as error:
        if (reason := out_of_memory(error)) is None:
            raise
        raise InputError(reason + ALONE) from error
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
