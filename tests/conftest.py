"""One thread per process; tests that need a GPU are skipped without one."""

import os
import shutil

import pytest

# Beside other processes, more threads are several times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# For deterministic training on a GPU; torch reads it once in a process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# Without a GPU, Triton's interpreter runs its kernels. Triton reads this when it is imported.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
