"""The onnx and pt2 forms compute what the network computes."""

from __future__ import annotations

import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.exporting import (
    NORMALISATION,
    PLACEMENTS,
    network_of,
)

from relu_search import export_model, load_exported
from relu_search.export.card import read_card
from relu_search.export.formats import OLDEST_OPSET, run_onnx
from search_spaces import InputError

QUICK = [
    ("plain-8", "2:1", 10, "relu"),
    ("preresnet-8", "01*3@drop-norm", 100, "relu"),
    ("dfn-14", "4:3/type1", 10, "relu"),
    ("preplain-8", "2:1", 10, "crelu"),
    ("resnet-8", "2:1/second", 10, "rrelu"),
]


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
    model = network_of(backbone, placement, classes=classes, activation=activation, steps=3)
    check_forms(model, tmp_path / "x", ["onnx", "pt2"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("steps", [0, 5], ids=["untrained", "trained"])
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize(
    ("backbone", "placement"), [(b, p) for b, texts in PLACEMENTS.items() for p in texts]
)
def test_every_family_passes_the_proof(backbone, placement, classes, steps, tmp_path):
    model = network_of(backbone, placement, classes=classes, steps=steps)
    check_forms(model, tmp_path / "x", ["onnx", "pt2"], fold="always")


ALL = ["safetensors", "onnx", "pt2", "python"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("activation", ["leaky_relu", "prelu", "rrelu", "elu", "crelu"])
@pytest.mark.parametrize("backbone", ["plain-8", "preresnet-bottleneck-11"])
def test_every_activation_passes_the_proof_in_every_format(backbone, activation, tmp_path):
    model = network_of(backbone, PLACEMENTS[backbone][1], activation=activation, steps=3)
    card = check_forms(model, tmp_path / "x", ALL, fold="always")
    assert card["activation"] == activation


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("backbone", "steps"),
    [("preresnet-110", 2), ("dfn-110", 2), ("plain-84", 0)],  # plain-84 overflows after two steps
)
def test_deep_nets_pass_the_proof(backbone, steps, tmp_path):
    export_model(network_of(backbone, "paired", steps=steps), tmp_path / "x", ["onnx", "pt2"])


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


def batch_axes(model):
    """Name or size of the first axis of each input and output."""
    values = (*model.graph.input, *model.graph.output)
    first = [value.type.tensor_type.shape.dim[0] for value in values]
    return [one.dim_param or one.dim_value for one in first]


def opset_of(model):
    (version,) = [entry.version for entry in model.opset_import if entry.domain == ""]
    return version


def test_the_batch_axis_is_called_batch_with_uint8_and_with_float_images(whole, tmp_path):
    assert batch_axes(onnx.load(whole[1] / "model.onnx")) == ["batch", "batch"]
    export_model(network_of("plain-5", "2:1"), tmp_path / "x", ["onnx"], opset=18)
    model = onnx.load(tmp_path / "x" / "model.onnx")
    assert batch_axes(model) == ["batch", "batch"]
    assert opset_of(model) == read_card(tmp_path / "x")["forms"]["onnx"]["opset"] == 18


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("inside", [False, True], ids=["float", "uint8"])
@pytest.mark.parametrize("opset", range(OLDEST_OPSET, onnx.defs.onnx_opset_version() + 1))
@pytest.mark.parametrize(
    ("backbone", "placement", "activation"),
    [("preresnet-8", "01*3@drop-norm", "elu"), ("dfn-14", "4:3/type1", "prelu")],
)
def test_every_opset_runs_in_onnx_runtime(backbone, placement, activation, opset, inside, tmp_path):
    model = network_of(backbone, placement, activation=activation, steps=3)
    details = {"image_size": [16, 16], "normalisation": NORMALISATION}
    options = {"opset": opset, "normalise_inside": inside, "details": details}
    export_model(model, tmp_path / "x", ["onnx"], **options)
    written = onnx.load(tmp_path / "x" / "model.onnx")
    assert opset_of(written) == opset
    assert batch_axes(written) == ["batch", "batch"]
    pixels = torch.randint(0, 256, (5, 16, 16, 3), generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(NORMALISATION[key]) for key in ("mean", "std"))
    images = ((pixels - mean) / std).permute(0, 3, 1, 2)
    given = pixels.numpy().astype(np.uint8) if inside else images.numpy()
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    (found,) = session.run(None, {"images": given})
    with torch.no_grad():
        assert np.abs(found - model(images).numpy()).max() < 1e-4


@pytest.mark.parametrize("opset", [0, 17, onnx.defs.onnx_opset_version() + 1, 18.0, True])
def test_an_opset_that_the_exporter_cannot_write_is_refused(opset, tmp_path):
    with pytest.raises(InputError, match=r"opset is .*; it must be 18 to \d\d, the versions"):
        export_model(network_of("plain-5", "2:1"), tmp_path / "x", ["onnx"], opset=opset)
    assert not (tmp_path / "x").exists()


def test_an_opset_without_onnx_is_refused(tmp_path):
    with pytest.raises(InputError, match="add onnx to --format"):
        export_model(network_of("plain-5", "2:1"), tmp_path / "x", ["pt2"], opset=18)


def test_a_file_that_this_onnx_runtime_cannot_run_is_refused(whole, tmp_path):
    model = onnx.load(whole[1] / "model.onnx")
    model.opset_import[0].version = 999
    (tmp_path / "newer.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"cannot run newer.onnx .*; use a lower --opset"):
        run_onnx(tmp_path / "newer.onnx")


def test_a_pt2_cannot_be_trained_as_the_documents_say_and_the_other_forms_can(whole):
    _, folder = whole
    with pytest.raises(NotImplementedError):
        torch.export.load(folder / "model.pt2").module().train()
    assert load_exported(folder).train().training


def test_nothing_of_this_machine_is_in_the_graphs(whole):

    _, folder = whole
    content = (folder / "model.onnx").read_bytes()
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        content += b"".join(archive.read(name) for name in archive.namelist())
    assert b"search_spaces" not in content
    assert b".py" not in content
