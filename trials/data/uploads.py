"""Copies from the host's memory to a device."""

from __future__ import annotations

import torch
from torch import Tensor

PART_BYTES = 2**25
"""Bytes of pinned memory for one part of an upload."""


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host, of at least one dimension, on a device; on the CPU the tensor itself.

    Does not wait for the device. The copy goes through pinned memory, part by part: the device
    reads a part while the host fills the next. torch keeps the pinned memory for later uploads.
    """
    if device.type == "cpu":
        return tensor
    there = torch.empty_like(tensor, device=device)
    parts = 1 + tensor.nbytes // PART_BYTES
    for target, part in zip(there.chunk(parts), tensor.chunk(parts), strict=True):
        target.copy_(part.pin_memory(), non_blocking=True)
    return there
