"""Weights from files: what is read, what is refused, and what identifies them."""

from __future__ import annotations

import os
import pickle
import zipfile
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from search_spaces import Backbone, FunctionBackbone, InputError, build, parse_backbone
from trials import read_weights
from trials.fine_tuning import weights as module
from trials.training.checkpoint import save_weights

BACKBONE = Backbone("plain", 5, width=2)
SHAPE = {"num_classes": 3, "in_channels": 1}


def network(backbone=BACKBONE, placement=None, **changes):
    generator = torch.Generator().manual_seed(1)
    return build(backbone, placement, generator=generator, **{**SHAPE, **changes})


def state_of(net):
    return {n: v.clone() for n, v in net.state_dict().items() if not n.endswith("tracked")}


def read(path, **changes):
    return read_weights(str(path), BACKBONE, **{**SHAPE, **changes})


@pytest.fixture
def state():
    return network().state_dict()


def write_plain(state, folder):
    torch.save(state, folder / "w.pt")


def write_old(state, folder):
    torch.save(state, folder / "w.pth", _use_new_zipfile_serialization=False)


def write_checkpoint(state, folder):
    torch.save({"epoch": 3, "state_dict": state, "lr": [0.1]}, folder / "w.pt")


def write_parallel(state, folder):
    torch.save({f"module.{name}": value for name, value in state.items()}, folder / "w.pt")


def write_without_counts(state, folder):
    kept = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    save_file(kept, folder / "w.safetensors")


def write_double(state, folder):
    save_file(
        {n: v.double() if v.is_floating_point() else v for n, v in state.items()},
        folder / "w.safetensors",
    )


WAYS = [
    *(write_plain, write_old, write_checkpoint, write_parallel),
    *(write_without_counts, write_double),
]


@pytest.mark.parametrize("write", WAYS)
def test_every_format_gives_the_same_tensors_and_the_same_digest(write, state, tmp_path):
    save_weights(network(), tmp_path / "ours.safetensors")
    ours = read(tmp_path / "ours.safetensors")
    write(state, tmp_path)
    (path,) = tmp_path.glob("w.*")
    theirs = read(path)
    assert theirs.digest == ours.digest
    expected = state_of(network())
    assert theirs.tensors.keys() == expected.keys()
    assert all(torch.equal(theirs.tensors[name], value) for name, value in expected.items())
    assert (theirs.name, theirs.placement) == (path.name, None)
    assert ours.placement == network().placement


def test_other_weights_have_another_digest(state, tmp_path):
    save_file(state, tmp_path / "a.safetensors")
    with torch.no_grad():
        state["classifier.bias"][0] += 1e-6
    save_file(state, tmp_path / "b.safetensors")
    assert read(tmp_path / "a.safetensors").digest != read(tmp_path / "b.safetensors").digest


def test_the_first_three_mismatches_are_named(tmp_path):
    save_weights(network(Backbone("plain", 5, width=3)), tmp_path / "w.safetensors")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "w.safetensors")
    text = str(caught.value)
    assert "\n" not in text
    assert text.count("expected") == 3
    assert "blocks.0.conv.weight: expected (2, 2, 3, 3), found (3, 3, 3, 3)" in text


def test_weights_that_lack_a_norm_or_have_other_names_are_refused(state, tmp_path):
    save_weights(network(placement="0*3@drop-norm"), tmp_path / "dropped.safetensors")
    with pytest.raises(InputError, match="found nothing"):
        read(tmp_path / "dropped.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="expected nothing, found"):
        read(tmp_path / "other.safetensors")


def test_a_head_for_other_classes_is_left_out_only_if_asked(tmp_path):
    save_weights(network(num_classes=7), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"head for another number of classes.*--new-head"):
        read(tmp_path / "w.safetensors")
    weights = read(tmp_path / "w.safetensors", new_head=True)
    left_out = state_of(network()).keys() - weights.tensors.keys()
    assert left_out == {"classifier.weight", "classifier.bias"}


def test_the_head_of_any_network_is_found(tmp_path):
    backbone = FunctionBackbone("torchvision:mobilenet_v2", arguments={"width_mult": 0.1})
    made = build(backbone, num_classes=5)
    save_weights(made, tmp_path / "w.safetensors")
    weights = read_weights(
        str(tmp_path / "w.safetensors"), backbone, num_classes=4, in_channels=3, new_head=True
    )
    left_out = state_of(made).keys() - weights.tensors.keys()
    assert left_out == {"classifier.1.weight", "classifier.1.bias"}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def evil(path):
    path.write_bytes(pickle.dumps(Evil()))


def evil_archive(path):
    torch.save({"x": Evil()}, path)


def not_finite(path):
    state = network().state_dict()
    state["classifier.bias"][0] = float("nan")
    torch.save(state, path)


def complex_numbers(path):
    state = dict(network().state_dict())
    state["classifier.bias"] = state["classifier.bias"].to(torch.complex64)
    torch.save(state, path)


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(2**26))


def large(path):
    with path.open("wb") as file:
        file.truncate(2**30)


def huge_view(path):
    state = dict(network().state_dict())
    state["classifier.bias"] = torch.zeros(1).expand(2**40)
    torch.save(state, path)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (evil, "cannot be read"),
        (evil_archive, "cannot be read .*give a file of tensors alone"),
        (lambda path: torch.save([torch.zeros(1)], path), "no table of tensors"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "not a regular file"),
        (lambda path: None, "No such file"),
        (not_finite, "classifier.bias has values that are not finite"),
        (complex_numbers, "classifier.bias is a tensor of torch.complex64"),
        (bomb, "67,108,864 bytes, more than"),
        (large, "1,073,741,824 bytes, more than"),
        (huge_view, r"classifier.bias: expected \(3,\), found \(1099511627776,\)"),
    ],
)
def test_a_bad_file_is_one_line(write, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pt")
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 40, (2**62).to_bytes(8, "little") + b"{}"])
def test_a_damaged_safetensors_file_is_one_line(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "w.safetensors")


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no file of \.safetensors, \.pt, \.pth"):
        read(tmp_path / "w.bin")


def test_pretrained_is_for_networks_of_libraries():
    with pytest.raises(InputError, match=r"plain-5 is no network of torchvision: or timm:"):
        read("pretrained")


def test_pretrained_weights_are_those_that_torchvision_offers(tmp_path, monkeypatch):
    """torchvision finds the file where it would have downloaded it; nothing is fetched."""
    import torchvision

    state = torchvision.models.squeezenet1_1().state_dict()
    offered = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    file = tmp_path / "hub" / "checkpoints" / offered.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    backbone = FunctionBackbone("torchvision:squeezenet1_1")
    weights = read_weights("pretrained", backbone, num_classes=10, in_channels=3, new_head=True)
    first, head = "features.0.weight", "classifier.1.weight"
    assert torch.equal(weights.tensors[first], state[first])
    assert head in state
    assert head not in weights.tensors


def test_pretrained_statistics_are_those_that_the_libraries_state(monkeypatch):
    """The constants of ImageNet, as torchvision's documentation states them."""
    mean, std = module.pretrained_statistics(FunctionBackbone("torchvision:resnet18"))
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(InputError, match=r"plain-5 is no network of torchvision: or timm:"):
        module.pretrained_statistics(parse_backbone("plain-5", 4))
    monkeypatch.setattr(module, "import_module", lambda _name: SimpleNamespace())
    with pytest.raises(InputError, match=r"give numbers: --normalise MEANS/STDS"):
        module.pretrained_statistics(FunctionBackbone("torchvision:resnet18"))


def test_a_failed_download_is_one_line(monkeypatch):
    def offline(_name):
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(module, "import_module", offline)
    backbone = FunctionBackbone("torchvision:resnet18")
    with pytest.raises(InputError, match=r"cannot be fetched \(OSError: no route to host\)"):
        read_weights("pretrained", backbone, num_classes=10, in_channels=3)
