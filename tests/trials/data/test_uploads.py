"""Uploads: every value arrives, through pinned memory and without waiting. Nothing on the CPU."""

from __future__ import annotations

import pytest
import torch

from trials.data import uploads
from trials.data.augmentation import EpochDraws
from trials.data.uploads import upload


@pytest.mark.parametrize("shape", [(1,), (7, 3), (2, 2, 100)])
def test_all_parts_arrive_from_pinned_memory(shape, pinned, monkeypatch):
    """The pretended device has its memory on the host, so that the values can be read."""
    copies, copy = [], torch.Tensor.copy_

    def copy_(target, source, non_blocking=False):
        copies.append(non_blocking)
        return copy(target, source)

    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    monkeypatch.setattr(uploads.torch, "empty_like", lambda t, device: torch.zeros_like(t))
    monkeypatch.setattr(uploads, "PART_BYTES", 64)
    tensor = torch.arange(torch.Size(shape).numel()).view(shape).transpose(0, -1)
    there = upload(tensor, torch.device("meta"))
    assert torch.equal(there, tensor)
    assert len(pinned) == len(copies) > tensor.nbytes // 100
    assert all(copies)


def test_on_the_cpu_nothing_is_copied(pinned):
    draws = EpochDraws.draw(10, pad=1, flip=True, seed=0, epoch=1)
    there = draws.to(torch.device("cpu"))
    assert all(ours is theirs for ours, theirs in zip(there.tensors, draws.tensors, strict=True))
    assert pinned == []


@pytest.mark.cuda
def test_all_values_arrive_on_a_gpu(monkeypatch):
    monkeypatch.setattr(uploads, "PART_BYTES", 1000)
    for tensor in (torch.arange(5), torch.arange(10_000).view(100, 10, 10)):
        assert torch.equal(upload(tensor, torch.device("cuda")).cpu(), tensor)
