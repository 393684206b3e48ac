"""Freed memory is kept: the next step takes no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from trials.training.process import keep_freed_memory
keep_freed_memory()
def step():  # 80 MB, as a forward pass takes and a backward pass frees them
    activations = [torch.ones(1_000_000) for _ in range(20)]
    while activations:
        activations.pop()
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_steps_take_no_new_pages():
    """By itself glibc gives a step's 20,000 pages back, unless something small lies above them."""
    run = [sys.executable, "-c", COUNT]
    assert int(subprocess.run(run, check=True, capture_output=True, text=True).stdout) < 1_000
