"""The GPU benchmarks, run small on the CPU: every line that does not need CUDA."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_the_command_starts_without_a_gpu_and_without_ray_or_optuna():
    code = (
        "import sys; from benchmarks.gpu_speed.__main__ import main; sys.argv = ['x', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'ray', 'optuna'} & {*sys.modules}"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "epoch, candidates, floor" in done.stdout
