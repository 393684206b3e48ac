"""The Python file: readable, and it runs without this project."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from helpers.exporting import NORMALISATION, PLACEMENTS, network_of
from safetensors.torch import load_file, save_file

from relu_search.export.python_source import python_source
from trials.training.checkpoint import save_weights

ALONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("search_spaces", "trials", "relu_search", "torchvision", "onnx", "PIL", "ray"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
import torch
from safetensors.torch import load_file, save_file
import model
images = load_file(sys.argv[2])["images"]
with torch.no_grad():
    logits = model.load()(model.normalise(images))
save_file({"logits": logits}, sys.argv[3])
assert model.CLASSES[3] == "class 3"
"""


def test_the_python_file_runs_where_only_torch_and_safetensors_are(whole, tmp_path):
    model, folder = whole
    pixels = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    save_file({"images": pixels}, tmp_path / "in")
    arguments = [folder, tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", ALONE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mean, std = (torch.tensor(NORMALISATION[key]) for key in ("mean", "std"))
    with torch.no_grad():
        wanted = model(((pixels.float() - mean) / std).permute(0, 3, 1, 2))
    assert (load_file(tmp_path / "out")["logits"] - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("backbone", PLACEMENTS)
def test_the_python_file_reads_well_and_has_the_network_in_it(backbone, tmp_path):

    model = network_of(backbone, PLACEMENTS[backbone][1])
    text = python_source(
        model,
        title="a test.",
        weights="w.safetensors",
        size=(16, 16),
        normalisation=None,
        classes=['a "quoted"\nname', "é"],
    )
    (tmp_path / "m.py").write_text(text, encoding="utf-8")
    save_weights(model, tmp_path / "w.safetensors")
    for command in (["check", "--isolated"], ["format", "--isolated", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--line-length", "100", "m.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    names = {"__name__": "m", "__file__": str(tmp_path / "m.py")}
    exec(compile(text, "m.py", "exec"), names)  # with our packages; without them: the test above
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert torch.equal(names["load"]()(images), model(images))
    assert names["CLASSES"] == ('a "quoted"\nname', "é")
