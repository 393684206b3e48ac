"""The GPU benchmarks, run small on the CPU: every line that does not need CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.gpu_speed import __main__ as gpu_speed
from benchmarks.gpu_speed import kernels
from benchmarks.gpu_speed.candidates import (
    candidate_rows,
    compiled_rows,
    long_rows,
    process_rows,
)
from benchmarks.gpu_speed.reproduction import table1_rows
from benchmarks.gpu_speed.scale import QUICK
from benchmarks.speed.rows import Row

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A data set of 120 training and 40 test images in parquet files."""
    import io

    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 40)):
        files = []
        for number in range(count):
            pixels = rng.integers(0, 200, size=(16, 16, 3), dtype=np.uint8) + 50 * (number % 2)
            buffer = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(buffer, "png")
            files.append({"bytes": buffer.getvalue(), "path": None})
        labels = [number % 2 for number in range(count)]
        pq.write_table(pa.table({"img": files, "label": labels}), folder / f"{split}.parquet")
    return f"parquet:{folder}"


@pytest.mark.slow
def test_candidates_beside_the_usual_loop():
    rows = list(candidate_rows("cpu", QUICK))
    assert [row.what.partition("images, ")[2] for row in rows] == [
        "eager, fp32",
        "captured, fp32",
        "a pack of 2, fp32",
        "captured, fp32",
        "a pack of 2, fp32",
    ]
    assert all(row.ratio > 0 and "workers" in row.peer for row in rows)


@pytest.mark.slow
def test_packs_in_several_processes_beside_one_pack():
    (row,) = process_rows("cpu", QUICK)
    assert row.what.endswith("2 processes with 2 each, fp32")
    assert row.peer == "one process with 4"
    assert row.ratio > 0


@pytest.mark.slow
def test_a_compiled_step_beside_one_that_is_not():
    (row,) = compiled_rows("cpu", QUICK)
    assert (row.what.partition("images, ")[2], row.peer) == (
        "compiled captured, fp32",
        "captured, fp32",
    )


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sums_of_gradients", "batch norm"),
        ("gradient_of_normalised", "batch norm"),
        ("statistics", "batch norm"),
        ("void at::native::batch_norm_collect_statistics_kernel", "batch norm"),
        ("gradient_of_weight", "convolutions"),
        ("convolution", "convolutions"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16", "convolutions"),
        ("void tensorTransformGeneric<__nv_bfloat16>", "changes of layout"),
        ("Memset (Device)", "gather and copies"),
        ("something new", "all else"),
    ],
)
def test_kernels_are_counted_by_kind(kernel, kind):
    assert kernels.kind_of(kernel) == kind


def test_the_time_of_a_step_is_that_of_an_epoch_for_each_step_and_candidate(monkeypatch):
    from benchmarks.gpu_speed import steps

    monkeypatch.setattr(steps, "seconds_of", lambda epoch: epoch() and 3.0)
    rows = list(steps.step_rows("cpu", QUICK))
    assert [(row.what, row.ours) for row in rows] == [
        ("plain-5, fp32, no pack", "1,500,000"),  # two steps
        ("plain-5, fp32, a pack of 2", "750,000"),
    ]


def test_candidates_per_hour_follow_from_an_epoch_of_a_pack(monkeypatch):
    from benchmarks.gpu_speed import candidates

    monkeypatch.setattr(candidates, "seconds_of", lambda epoch: epoch() and 4.0)
    (row,) = long_rows("cpu", QUICK)
    assert row.ours == "60"  # 2 members, 30 epochs of 4 seconds: 120 seconds for both
    assert row.reached is False


@pytest.mark.filterwarnings("ignore")  # of a profiler without a GPU
def test_a_step_beside_its_floor(monkeypatch):
    monkeypatch.setattr(kernels, "_bandwidth", lambda _device: 1e9)
    monkeypatch.setattr(kernels, "_kernel_start", lambda _device: 1e-6)
    rows = list(kernels.floor_rows("cpu", QUICK))
    steps = [row for row in rows if row.ratio is not None]
    assert len(steps) == 4  # one candidate and a pack, of two backbones
    assert all(row.ratio > 0 for row in steps)
    assert rows[-1].what.partition(": ")[2] == "between kernels"


def test_table_1_is_repeated_in_small(images):
    rows = list(
        table1_rows(
            "cpu", source=images, seconds=1, depths=(5, 8), images=64, seeds=2, precision="fp32"
        )
    )
    assert [row.what.partition(",")[0] for row in rows] == ["plain-5", "plain-8"]
    assert all(row.n == 2 and "±" in row.ours and "8 epochs" in row.what for row in rows)


def test_rows_go_into_a_file_and_from_files_into_the_page(tmp_path, monkeypatch):
    page, file = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text("Prose.\n\n<!-- generated below -->\n")
    monkeypatch.setattr(gpu_speed, "PAGE", page)
    monkeypatch.setattr(
        sys, "argv", [*["x", "long", "--device", "cpu", "--quick", "--json"], str(file)]
    )
    gpu_speed.main()
    section = json.loads(file.read_text())["long"]
    assert {"date", "torch", "cpu"} <= section["machine"].keys()
    section["machine"]["gpu"] = "a card"
    on_gpu = tmp_path / "on_gpu.json"
    on_gpu.write_text(json.dumps({"long": section}))
    monkeypatch.setattr(sys, "argv", ["x", "--from", str(on_gpu)])
    gpu_speed.main()
    (row,) = section["rows"]
    assert page.read_text().startswith("Prose.")
    assert f"| {row['what']} |  | {row['ours']} |" in page.read_text()


def test_of_files_with_the_same_section_the_last_counts(tmp_path, monkeypatch):
    page, files = tmp_path / "page.md", [tmp_path / "1.json", tmp_path / "2.json"]
    page.write_text("Prose.\n\n<!-- generated below -->\n")
    monkeypatch.setattr(gpu_speed, "PAGE", page)
    for file, ours in zip(files, ("older", "newer"), strict=True):
        row = Row(section="Title", what="what", ours=ours, n=1)
        section = {"machine": {"gpu": "a card"}, "rows": [row.to_json()]}
        file.write_text(json.dumps({"long": section}))
    monkeypatch.setattr(sys, "argv", ["x", "--from", *map(str, files)])
    gpu_speed.main()
    assert "newer" in page.read_text()
    assert "older" not in page.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "FileNotFoundError"),
        ("no JSON", "JSONDecodeError"),
        ('{"long": {}}', "KeyError"),
        ('{"long": {"machine": {"cpu": "x"}, "rows": []}}', "long not measured on a GPU"),
    ],
)
def test_files_that_are_no_results_of_a_gpu_leave_the_page_alone(
    text, says, tmp_path, monkeypatch, capsys
):
    page, file = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text("Prose.")
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(gpu_speed, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["x", "--from", str(file)])
    with pytest.raises(SystemExit) as end:
        gpu_speed.main()
    assert end.value.code == 2
    assert says in capsys.readouterr().err
    assert page.read_text() == "Prose."


def test_the_gpu_day_does_not_begin_without_its_images(tmp_path):
    day = subprocess.run(
        ["bash", "benchmarks/gpu_day.sh", "--device", "cpu", "--quick"],
        cwd=ROOT,
        env={
            **os.environ,
            "OUT": str(tmp_path / "out"),
            "IMAGES": f"parquet:{tmp_path}/none",
            "PYTHON": sys.executable,
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert day.returncode == 1
    assert day.stderr.startswith("gpu_day: data 'parquet:")
    assert "==" not in day.stdout


def test_the_command_starts_without_a_gpu_and_without_ray_or_optuna():
    code = (
        "import sys; from benchmarks.gpu_speed.__main__ import main; sys.argv = ['x', '--help']\n"
        "assert 'torch' not in sys.modules\n"  # each process that it starts imports it again
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'ray', 'optuna'} & {*sys.modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "steps, candidates, long, floor" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_gpu_day_runs_to_its_end_on_a_cpu(images, tmp_path):
    day = subprocess.run(
        ["bash", "benchmarks/gpu_day.sh", "--device", "cpu", "--quick"],
        cwd=ROOT,
        env={
            **os.environ,
            "OUT": str(tmp_path),
            "IMAGES": images,
            "PYTHON": sys.executable,
            "SECONDS_IN_ALL": "600",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert day.returncode == 0, day.stderr
    assert day.stdout.count("exit code 0") == 3, day.stdout
    sections = {name for file in tmp_path.glob("*.json") for name in json.loads(file.read_text())}
    assert sections == set(gpu_speed.SECTIONS)


def test_a_search_and_its_confirmation_in_this_process(images, tmp_path, monkeypatch):
    from benchmarks.gpu_speed import search

    file = tmp_path / "found.json"
    options = ["--data", images, "--device", "cpu", "--quick", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["x", *options])
    search.main()
    found = json.loads(file.read_text())
    epochs = [row["epochs"] for row in found["search"]]
    assert set(epochs) <= {3, 4}, "stopped at the rung, or trained to the end"
    assert len(epochs) >= search.QUICK.members
    best = search.best_placement(found["search"])
    arms = [arm["arm"] for arm in found["confirmation"]]
    assert arms[:2] == [*search.MODULES]
    assert arms[2:] in ([best], [])  # the best may be one of the modules
    assert all(arm["n"] == 2 and 0 <= arm["mean"] <= 100 for arm in found["confirmation"])
