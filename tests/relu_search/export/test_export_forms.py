"""Forms that run elsewhere: each is the network, or nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from relu_search import export_model, load_exported
from relu_search.export.card import normalisation_of, read_card
from relu_search.export.proof import ProofImages, prove, reference_logits
from search_spaces import Backbone, InputError, build

ALL = ["safetensors", "onnx", "pt2", "python"]
PLACEMENTS = {
    "plain-8": ("paired", "2:1", "linear", "101101"),
    "preplain-8": ("paired", "2:1", "linear", "2:1@drop-norm"),
    "resnet-8": ("paired", "2:1/first", "2:1/second", "0*6@drop-norm"),
    "preresnet-8": ("paired", "2:1/second", "pyramidnet", "01*3@drop-norm"),
    "preresnet-bottleneck-11": ("paired", "3:2/type1", "3:2/type2", "3:2/type3"),
    "dfn-14": ("paired", "4:3/type1", "4:3/type2", "linear"),
}
QUICK = [
    ("plain-8", "2:1", 10, "relu"),
    ("preresnet-8", "01*3@drop-norm", 100, "relu"),
    ("dfn-14", "4:3/type1", 10, "relu"),
    ("preplain-8", "2:1", 10, "crelu"),
    ("resnet-8", "2:1/second", 10, "rrelu"),
]
NORMALISATION = {"mean": [120.0, 125.0, 130.0], "std": [60.0, 65.0, 70.0]}


def placement_of(backbone, text):
    """A placement text, or a module name with or without the norm suffix."""
    from search_spaces import resolve_placement

    name, at, _ = text.partition("@drop-norm")
    return resolve_placement(backbone, name, "drop" if at else "keep")


def network(backbone, placement, *, classes=10, activation="relu", steps=0):
    """A small network, trained on noise for a few steps so that BatchNorms have seen something."""
    generator = torch.Generator().manual_seed(3)
    spec = Backbone.parse(backbone, 4)
    model = build(
        spec,
        placement_of(spec, placement),
        num_classes=classes,
        activation=activation,
        generator=generator,
    ).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        images = torch.randn(16, 3, 16, 16, generator=generator) * 2 + 0.5
        labels = torch.randint(0, classes, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def check_forms(model, folder, formats, **options):
    """Export, then compare ONNX Runtime and torch.export with eager on images of our own."""
    export_model(model, folder, formats, details={"image_size": [16, 16]}, **options)
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        wanted = model(images)
        if "pt2" in formats:
            found = torch.export.load(folder / "model.pt2").module()(images)
            assert (found - wanted).abs().max() < 1e-4
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for batch in (1, 5):
        (found,) = session.run(["logits"], {"images": images[:batch].numpy()})
        assert np.abs(found - wanted[:batch].numpy()).max() < 1e-4
    card = read_card(folder)
    assert all(form["proof"]["largest_difference"] < 1e-4 for form in card["forms"].values())
    return card


@pytest.mark.parametrize(("backbone", "placement", "classes", "activation"), QUICK)
def test_onnx_and_pt2_are_the_network(backbone, placement, classes, activation, tmp_path):
    model = network(backbone, placement, classes=classes, activation=activation, steps=3)
    check_forms(model, tmp_path / "x", ["onnx", "pt2"])


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 5], ids=["untrained", "trained"])
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize(
    ("backbone", "placement"), [(b, p) for b, texts in PLACEMENTS.items() for p in texts]
)
def test_every_family_passes_the_proof(backbone, placement, classes, steps, tmp_path):
    model = network(backbone, placement, classes=classes, steps=steps)
    check_forms(model, tmp_path / "x", ["onnx", "pt2"], fold="always")


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["leaky_relu", "prelu", "rrelu", "elu", "crelu"])
@pytest.mark.parametrize("backbone", ["plain-8", "preresnet-bottleneck-11"])
def test_every_activation_passes_the_proof_in_every_format(backbone, activation, tmp_path):
    model = network(backbone, PLACEMENTS[backbone][1], activation=activation, steps=3)
    card = check_forms(model, tmp_path / "x", ALL, fold="always")
    assert card["activation"] == activation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "steps"),
    [("preresnet-110", 2), ("dfn-110", 2), ("plain-84", 0)],  # plain-84 overflows after two steps
)
def test_deep_nets_pass_the_proof(backbone, steps, tmp_path):
    export_model(network(backbone, "paired", steps=steps), tmp_path / "x", ["onnx", "pt2"])


# --- one whole export -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model in all forms, pairs folded, uint8 images in; and its folder."""
    model = network("plain-5", "2:1", steps=3)
    folder = tmp_path_factory.mktemp("whole") / "out"
    export_model(
        model,
        folder,
        ALL,
        details={
            "image_size": [16, 16],
            "normalisation": NORMALISATION,
            "classes": [f"class {i}" for i in range(10)],
        },
        fold="always",
        normalise_inside=True,
        real_images=torch.full((3, 16, 16, 3), 200, dtype=torch.uint8),
    )
    return model, folder


def test_the_card_has_a_proof_and_a_checksum_of_every_form(whole):
    _, folder = whole
    card = read_card(folder)
    files = ["model.onnx", "model.pt2", "model.py", "model.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", *files]
    assert card["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files
    }
    for form in card["forms"].values():
        proof = form["proof"]
        assert proof["largest_difference"] <= proof["tolerance"] == 1e-4
        assert proof["images"] == {"random": 32, "validation": 32}
        assert proof["batches"] == [1, 32]
        assert proof["argmax_agreement"] == 1
    opset = onnx.load(folder / "model.onnx").opset_import[0].version
    assert card["forms"]["onnx"]["opset"] == opset
    stem, sites = 4 * 16 * 16, (4 * 16 * 16, 8 * 8 * 8, 16 * 4 * 4)
    assert card["relu_elements"] == {"paired": stem + sum(sites), "this": stem + sites[1]}


def test_every_fold_is_reported_with_its_cost(whole):
    folding = read_card(whole[1])["folding"]
    assert folding["mode"] == "always"
    (first,) = folding["pairs"]
    assert (first["first"], first["second"]) == ("blocks.0.conv", "blocks.1.conv")
    assert (first["exact"], first["border"], first["folded_in"]) == (True, "exact", ["onnx", "pt2"])
    assert first["macs_before"] == 16 * 16 * 9 * 4 * 4 + 8 * 8 * 9 * 4 * 8
    # 5x5 of stride 2; at the top and left a 1-D line of 5 taps, in their corner one tap.
    assert first["macs_after"] == (8 * 8 * 25 + 2 * 8 * 5 + 1) * 4 * 8
    for backend, batch in itertools.product(("eager", "onnxruntime"), ("1", "128")):
        for when in ("before", "after"):
            timing = first["latency"][backend][batch][when]
            assert 0 < timing["q25_ms"] <= timing["median_ms"] <= timing["q75_ms"]


def test_uint8_images_go_straight_in(whole):
    model, folder = whole
    pixels = torch.randint(0, 256, (2, 16, 16, 3), generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(NORMALISATION[key]) for key in ("mean", "std"))
    with torch.no_grad():
        wanted = model(((pixels - mean) / std).permute(0, 3, 1, 2))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (found,) = session.run(None, {"images": pixels.numpy().astype(np.uint8)})
    assert np.abs(found - wanted.numpy()).max() < 1e-4
    found = torch.export.load(folder / "model.pt2").module()(pixels.to(torch.uint8))
    assert (found - wanted).abs().max() < 1e-4


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
    from relu_search.export.python_source import python_source
    from trials.training.checkpoint import save_weights

    model = network(backbone, PLACEMENTS[backbone][1])
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


def test_nothing_of_this_machine_is_in_the_graphs(whole):
    import zipfile

    _, folder = whole
    content = (folder / "model.onnx").read_bytes()
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        content += b"".join(archive.read(name) for name in archive.namelist())
    assert b"search_spaces" not in content
    assert b".py" not in content


# --- the proof itself -------------------------------------------------------------------------


def proof_inputs(model):
    images = ProofImages.make(channels=3, size=(16, 16), normalise=None)
    return images.inputs, reference_logits(model, images)


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_form_that_differs_in_one_logit_is_refused(error):
    inputs, wanted = proof_inputs(network("plain-8", "2:1"))

    def run(images):
        logits = wanted["random"][: len(images)].clone()
        logits[0, 0] += error
        return logits

    with pytest.raises(InputError, match="not the network"):
        prove("odd", run, inputs, wanted)


def test_the_tolerance_follows_large_logits_only():
    inputs, wanted = proof_inputs(network("plain-8", "2:1"))
    for scale, tolerance in ((9.0, 1e-4), (1000.0, 1e-2)):
        logits = {"random": wanted["random"] / wanted["random"].abs().max() * scale}
        proof = prove("same", lambda x, y=logits: y["random"][: len(x)], inputs, logits)
        assert proof.tolerance == pytest.approx(tolerance)
        assert proof.largest_difference == 0


def test_a_form_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    from relu_search.export import formats

    monkeypatch.setattr(formats, "run_pt2", lambda _: lambda images: torch.zeros(len(images), 10))
    with pytest.raises(InputError, match="pt2 form is not the network"):
        export_model(network("plain-8", "2:1", steps=2), tmp_path / "a" / "b", ["pt2"])
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_finite_outputs_is_refused(tmp_path):
    model = network("plain-8", "2:1")
    with torch.no_grad():
        model.classifier.bias[0] = float("inf")
    with pytest.raises(InputError, match="not all finite"):
        export_model(model, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# --- what is refused --------------------------------------------------------------------------


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "given"
    export_model(network("plain-8", "2:1"), folder, details={"image_size": [16, 16]})
    return folder


def test_weights_made_elsewhere_are_taken_when_they_fit(card, tmp_path):
    other = network("plain-8", "2:1", steps=3)
    save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    export_model(card, tmp_path / "out", weights=tmp_path / "theirs.safetensors")
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_exported(tmp_path / "out")(images), other(images))
    assert read_card(tmp_path / "out")["training"] is None


def test_weights_that_do_not_fit_name_the_first_three_mismatches(card, tmp_path, cli):
    tensors = network("plain-8", "2:1").state_dict()
    for name in list(tensors)[:5]:
        tensors[f"module.{name}"] = tensors.pop(name)
    save_file(tensors, tmp_path / "theirs")
    code, _, err = cli("export", card, "--weights", tmp_path / "theirs", "--out", tmp_path / "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "10 mismatches" in err
    assert err.count(": expected") == 3
    assert "give the weights that belong" in err
    assert not (tmp_path / "x").exists()


BAD = {
    "unknown format": (["--format", "onnx,torchscript"], "'torchscript' is unknown"),
    "unknown fold": (["--format", "onnx", "--fold", "maybe"], "'maybe' is unknown"),
    "fold without a graph": (["--fold", "always"], "onnx and pt2 forms only"),
    "normalise without a graph": (["--normalise-inside"], "onnx and pt2 forms only"),
    "no normalisation": (["--format", "pt2", "--normalise-inside"], "no normalisation"),
    "no such weights": (["--weights", "none.safetensors"], "cannot be read"),
    "weights that are none": (["--weights", __file__], "cannot be read"),
}


@pytest.mark.parametrize(("options", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_nothing_is_written(options, says, card, tmp_path, cli):
    code, out, err = cli("export", card, "--out", tmp_path / "x", *options)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given"]


def test_a_missing_extra_says_what_to_install(card, tmp_path, cli, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "onnxruntime" else find(n, *a)
    )
    exported = ["export", card, "--format", "onnx", "--out", tmp_path / "x"]
    for arguments in (exported, ["bench", card]):
        code, _, err = cli(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert "onnxruntime" in err
        assert "pip install 'relu-search[export]'" in err
    assert not (tmp_path / "x").exists()


def test_a_corrupted_weight_file_is_refused(card, tmp_path, cli):
    weights = card / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    code, _, err = cli("export", card, "--format", "pt2", "--out", tmp_path / "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be read" in err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "entry",
    [{"mean": [1.0]}, {"mean": [1.0] * 3, "std": [0.0, 1, 1]}, [1], {"mean": "x", "std": "y"}],
    ids=str,
)
def test_a_damaged_normalisation_is_refused(entry):
    with pytest.raises(InputError, match=r"normalisation is|std is"):
        normalisation_of({"normalisation": entry, "in_channels": 3})


def test_a_card_of_schema_1_is_still_read(card):
    content = json.loads((card / "card.json").read_text())
    kept = ("backbone", "width", "placement", "num_classes", "in_channels", "files")
    old = {"schema": 1, **{key: content[key] for key in kept}}
    (card / "card.json").write_text(json.dumps(old))
    assert load_exported(card).activation == "relu"


# --- from a run -------------------------------------------------------------------------------


def test_a_run_is_proven_on_its_validation_images_and_hands_on_its_verdict(
    searched, small_config, tmp_path, cli_json
):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(searched.run.path, run)
    best = searched.best["placement"]
    (run / "verdict.csv").write_text(f"arm,placement,verdict\nother,1,worse\nbest,{best},better\n")
    card = cli_json("export", run, "--out", tmp_path / "x")
    assert card["forms"]["safetensors"]["proof"]["images"] == {"random": 32, "validation": 32}
    assert card["verdict"] == {"arm": "best", "placement": best, "verdict": "better"}
    assert read_card(tmp_path / "x")["training"]["trial"] == searched.best["trial"]
