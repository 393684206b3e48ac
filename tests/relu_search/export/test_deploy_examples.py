"""The deployment examples run, in processes that cannot import this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from relu_search import export_model
from search_spaces import Backbone, build

EXAMPLES = Path(__file__).parents[3] / "examples" / "deploy"
NORMALISATION = {"mean": [100.0, 110.0, 120.0], "std": [50.0, 60.0, 70.0]}
BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def output_of(example, *arguments, blocked):
    code = BLOCKED.format(blocked=(*blocked, "search_spaces", "trials", "relu_search"))
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, EXAMPLES / example, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model():
    generator = torch.Generator().manual_seed(1)
    return build(Backbone.parse("plain-5", 4), "2:1", generator=generator).eval()


@pytest.mark.parametrize("inside", [True, False], ids=["uint8", "float"])
def test_classify_with_onnx_runtime_alone(model, inside, tmp_path):
    names = [f"class {i}" for i in range(10)]
    details = {"image_size": [8, 8], "normalisation": NORMALISATION, "classes": names}
    export_model(model, tmp_path / "m", ["onnx"], details=details, normalise_inside=inside)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    mean, std = (torch.tensor(NORMALISATION[key]) for key in ("mean", "std"))
    with torch.no_grad():
        logits = model(((torch.from_numpy(pixels) - mean) / std).permute(2, 0, 1)[None])
    best = logits.softmax(1).max(1)
    text = output_of(
        "classify_onnx.py", tmp_path / "m", tmp_path / "picture.png", blocked=["torch"]
    )
    first = text.splitlines()[0]
    assert first == f"class {best.indices.item()}: {best.values.item():.1%}"


def test_load_in_pytorch(model, tmp_path):
    export_model(model, tmp_path / "m", ["python"], details={"image_size": [8, 8]})
    text = output_of("load_pytorch.py", tmp_path / "m", 3, 8, 8, blocked=["onnx", "torchvision"])
    with torch.no_grad():
        assert text.strip() == str(model(torch.zeros(1, 3, 8, 8)).softmax(1))
