"""Settings of the process that trains: CPU threads, random numbers, freed memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


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
