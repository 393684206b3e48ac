"""Settings of the process that trains: threads, random numbers, arithmetic, freed memory."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch

from search_spaces import InputError
from trials.training.recipe import Recipe

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one CPU thread in the block; afterwards the number is as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_random_numbers(seed: int, device: torch.device | str) -> Iterator[None]:
    """Seed torch's global generators in the block; afterwards their states are as before.

    Only the generators of the CPU and of the given device are touched. So a trial on the CPU does
    not initialise CUDA, and a trial on a GPU initialises no other GPU.

    Args:
        seed: of these generators.
        device: that trains.
    """
    device = torch.device(device)
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else [], device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def require_precision(recipe: Recipe, device: torch.device | str) -> None:
    """Check that a device can train in the recipe's precision.

    Raises:
        InputError: tf32 or bf16 on a device other than CUDA.
    """
    if recipe.precision != "fp32" and torch.device(device).type != "cuda":
        raise InputError(f"precision {recipe.precision} needs a CUDA device; use fp32 on the CPU")


@contextmanager
def in_precision(recipe: Recipe) -> Iterator[None]:
    """How float32 convolutions and matrix products are computed in the block.

    With `tf32` their factors are rounded to TensorFloat-32, which has 10 bits after the point
    instead of 23. Otherwise they are not rounded, whatever the settings of the process. (torch's
    own default rounds in convolutions.) torch keeps these settings for the whole process, also for
    a backward pass, which runs outside autocast. Afterwards they are as before.
    """
    tf32 = recipe.precision == "tf32"
    on_gpu = "tf32" if tf32 else "ieee"
    before = _Float32.now()
    _Float32(
        cudnn=tf32,
        matmul="high" if tf32 else "highest",
        operations=[on_gpu] * 3 + ["ieee"] * 2,
    ).set()
    try:
        yield
    finally:
        before.set()


@dataclass(frozen=True)
class _Float32:
    """torch's settings of float32 arithmetic.

    There are older and newer ones. torch refuses to read the older ones where both disagree, and
    its compiler reads them. So both are set here. torch 2.8 has the older ones only.

    Attributes:
        cudnn, matmul: the older ones; None: they cannot be read.
        operations: the newer ones, in the order of `_operations`.
    """

    cudnn: bool | None
    matmul: str | None
    operations: list[str]

    @classmethod
    def now(cls) -> _Float32:
        with _older_settings():
            return cls(
                _read(lambda: torch.backends.cudnn.allow_tf32),
                _read(torch.get_float32_matmul_precision),
                [operation.fp32_precision for operation in _operations()],
            )

    def set(self) -> None:
        with _older_settings():
            if self.cudnn is not None:
                torch.backends.cudnn.allow_tf32 = self.cudnn
            if self.matmul is not None:
                torch.set_float32_matmul_precision(self.matmul)
        for operation, value in zip(_operations(), self.operations, strict=False):
            operation.fp32_precision = value


def _operations() -> tuple[Any, ...]:
    """What has a newer setting: three kinds of operation on the GPU, two on the CPU."""
    on_gpu: Any = torch.backends.cudnn
    on_cpu: Any = torch.backends.mkldnn
    if not hasattr(on_gpu, "conv"):
        return ()
    return on_gpu.conv, on_gpu.rnn, torch.backends.cuda.matmul, on_cpu.conv, on_cpu.matmul


def _read(setting: Callable[[], T]) -> T | None:
    try:
        return setting()
    except RuntimeError:
        return None


@contextmanager
def _older_settings() -> Iterator[None]:
    """Some versions of torch warn of the older settings, and so of their own compiler."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        yield


CUBLAS_SETTING, CUBLAS_REPEATS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
"""A variable of the environment, and the values with which matrix products repeat."""


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Use only algorithms that repeat their results to the bit, on one kind of GPU.

    Afterwards torch's settings are as before. The variable of cuBLAS stays set, because torch reads
    it once, when the process computes its first matrix product on a GPU. If that was before this
    block, torch raises a RuntimeError at the next one.

    Args:
        enabled: False: nothing is changed.

    Raises:
        InputError: the variable has a value with which cuBLAS does not repeat its results.
    """
    if not enabled:
        yield
        return
    value = os.environ.setdefault(CUBLAS_SETTING, CUBLAS_REPEATS[0])
    if value not in CUBLAS_REPEATS:
        raise InputError(
            f"{CUBLAS_SETTING} is {value!r:.40}; deterministic training needs "
            f"{' or '.join(CUBLAS_REPEATS)}: unset it, or leave out deterministic"
        )
    cudnn: Any = torch.backends.cudnn
    memory: Any = torch.utils.deterministic
    before = cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    memory.fill_uninitialized_memory = False  # a search for errors, at one kernel per tensor
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = before


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory, once per process; without glibc nothing happens.

    The activations of a step are tensors of megabytes. By default glibc returns such memory to the
    system when it is freed, and the next step requests it again page by page: thousands of page
    faults per step. With this setting the process keeps its peak memory.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _NEVER)
        set_option(_TRIM_THRESHOLD, _NEVER)
