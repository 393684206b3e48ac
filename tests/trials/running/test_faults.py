"""Trials that all fail for one reason stop the run."""

from __future__ import annotations

import contextlib

import pytest
import torch

from trials.running.faults import OUT_OF_MEMORY, CommonCause, RunStoppedError, out_of_memory
from trials.running.proposals import Proposal
from trials.training.metrics import DIVERGED
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

SPEC = TrialSpec(backbone="plain-5", width=2, placement="010", recipe=Recipe(epochs=3))
NAN = f"{DIVERGED}: nan"
FULL = f"{OUT_OF_MEMORY}: CUDA out of memory"


@pytest.mark.parametrize(
    ("reasons", "concluded", "stops"),
    [
        (["a", "a", "a"], "", True),
        (["a", "a"], "", False),
        (["a", "b", "a", "b"], "012", False),
        (["a", "a", None, "a", "a", None, "a"], "012345", False),
        ([NAN] * 5, "01234", False),
        ([FULL] * 5, "01234", False),
        (["a", "a", NAN, "a", "b", "b", "b"], "0123", True),
    ],
    ids=str,
)
def test_a_common_cause_is_the_same_reason_three_times_in_a_row(reasons, concluded, stops):
    """Those that failed by it stay open; the others are concluded in their order."""
    ended = []
    common_cause = CommonCause(lambda proposal, failure: ended.append((proposal.number, failure)))
    proposals = [Proposal(number=n, spec=SPEC) for n in range(len(reasons))]
    for proposal, reason in zip(proposals[:-1], reasons[:-1], strict=True):
        common_cause.ended(proposal, reason)
    with pytest.raises(RunStoppedError) if stops else contextlib.nullcontext():
        common_cause.ended(proposals[-1], reasons[-1])
    assert ended == [(int(n), reasons[int(n)]) for n in concluded]
    if not stops:
        common_cause.release()
        assert ended == list(enumerate(reasons))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. 2 GiB\nmore"), "CUDA out of memory. 2 GiB"),
        (torch.cuda.OutOfMemoryError("full"), "full"),
        (RuntimeError("CUDA error: out of memory"), "CUDA error: out of memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cuDNN error: CUDNN_STATUS_ALLOC"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), None),
        (RuntimeError("CUDA error: device-side assert triggered"), None),
        (MemoryError("CUDA error: out of memory"), None),
        (RuntimeError(), None),
    ],
    ids=repr,
)
def test_a_full_gpu_is_known_by_the_errors_of_torch_and_cuda(error, reason):
    found = out_of_memory(error)
    assert found is None if reason is None else found.startswith(f"out of GPU memory: {reason}")
    assert "\n" not in (found or "")
