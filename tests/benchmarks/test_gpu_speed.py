"""The GPU's benchmarks, run small on the CPU: every line but CUDA's own."""

from __future__ import annotations

import pytest

from benchmarks.gpu_speed import __main__ as gpu_speed
from benchmarks.gpu_speed import kernels
from benchmarks.gpu_speed.ways import Way

SMALL = {"device": "cpu", "images": 128, "backbones": ("plain-5",)}


def test_epochs_of_all_ways_beside_the_usual_loop():
    ways = (Way(), Way(captured=True))
    rows = list(gpu_speed.epoch_rows(**SMALL, rounds=1, ways=ways))
    assert [row.what for row in rows] == ["plain-5, eager, fp32", "plain-5, captured, fp32"]
    assert all(row.ratio > 0 for row in rows)


def test_processes_and_packs_that_share_a_device():
    (row,) = gpu_speed.candidate_rows(**SMALL, sharing=((2, 2),))
    assert row.what == "plain-5, 2 processes, 2 in each"
    assert float(row.ours.replace(",", "")) > 0


@pytest.mark.filterwarnings("ignore")  # of a profiler without a GPU
def test_a_step_beside_its_floor(monkeypatch):
    monkeypatch.setattr(kernels, "_bandwidth", lambda _device: 1e9)
    first, *account = kernels.floor_rows(**SMALL, ways=(Way(captured=True),))
    assert first.ratio > 0
    assert [row.what.partition(": ")[2] for row in account][-1] == "between kernels"
