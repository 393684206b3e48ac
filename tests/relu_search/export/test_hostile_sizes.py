"""Cards and weights of others: what they announce is compared with their files and the memory."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from relu_search import export_model, load_exported
from relu_search.export import card as card_module
from relu_search.export import exported_model
from relu_search.export.card import read_card
from relu_search.export.from_run import export_from
from search_spaces import InputError, build
from trials.files import memory
from trials.training import checkpoint


@pytest.fixture
def folder(tmp_path):
    """An export of a tiny network, and a function that changes entries of its card."""
    path = tmp_path / "model"
    export_model(build("plain-8", "2:1", width=2), path, details={"image_size": [8, 8]})

    def change(**entries):
        card = json.loads((path / "card.json").read_text())
        (path / "card.json").write_text(json.dumps({**card, **entries}))

    return path, change


@pytest.mark.parametrize(
    "entries",
    [
        {"image_size": [10**400, 8]},
        {"normalisation": {"mean": [10**400] * 3, "std": [1, 1, 1]}},
        {"width": 10**400},
        {"trial": 10**18},
        {"classes": 5},
        {"classes": ["a"]},
        {"classes": [1] * 10},
        {"classes": ["\ud800"] + ["a"] * 9},
        {"odd": "\udfff"},
        {"training": "none"},
        {"verdict": [1]},
        {"activation": 7},
    ],
    ids=lambda entries: next(iter(entries)),
)
def test_entries_that_no_export_can_use_are_one_line(folder, entries, tmp_path):
    path, change = folder
    change(**entries)
    with pytest.raises(InputError, match="card"):
        export_from(str(path), str(tmp_path / "out"), ["python"])
    assert not (tmp_path / "out").exists()


def test_an_export_that_takes_more_than_the_memory_is_refused_before(folder, tmp_path, monkeypatch):
    path, change = folder
    change(image_size=[4096, 4096])
    monkeypatch.setattr(memory, "memory_limit", lambda: 2 * 2**30)
    with pytest.raises(InputError, match=r"32 images of 4096x4096 pixels would take .* GiB"):
        export_from(str(path), str(tmp_path / "out"), ["safetensors"])
    assert not (tmp_path / "out").exists()


def test_the_memory_of_a_forward_pass_is_not_estimated_too_low():
    network = build("preresnet-8", width=8)
    taken = {}
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: taken.update({m: o.numel() * 4}))
    with torch.no_grad():
        network(torch.zeros(4, 3, 64, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "memory_limit", lambda: max(taken.values()))
        with pytest.raises(InputError, match="forward pass"):
            exported_model.require_room(network, (64, 64), 4)


def test_a_wrong_width_is_found_in_the_header(folder, monkeypatch):
    """plain-302 of width 1024 has 12 GB; only its names and shapes are ever made."""
    path, change = folder
    change(backbone="plain-302", width=1024, placement="1*300")
    monkeypatch.setattr(checkpoint, "load_weights", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="do not fit the network"):
        load_exported(path)


def test_weights_that_fit_no_memory_are_not_loaded(folder, monkeypatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 1000)
    with pytest.raises(InputError, match=r"the network of .* would take"):
        load_exported(folder[0])


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool, torch.int32])
def test_weights_that_are_no_real_numbers_are_refused(folder, kind, tmp_path):
    path, _ = folder
    weights = {n: t.to(kind) for n, t in load_file(path / "model.safetensors").items()}
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="has the type"):
        export_from(
            str(path), str(tmp_path / "out"), ["onnx"], weights=str(tmp_path / "other.safetensors")
        )


def test_weights_of_other_real_types_are_taken(folder, tmp_path):
    path, _ = folder
    weights = load_file(path / "model.safetensors")
    halves = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    save_file(halves, tmp_path / "other.safetensors")
    export_from(str(path), str(tmp_path / "out"), [], weights=str(tmp_path / "other.safetensors"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["card.json", "model.safetensors", "--weights"])
def test_a_fifo_is_not_waited_for(folder, name, tmp_path):
    path, _ = folder
    given = {}
    if name == "--weights":
        given = {"weights": str(tmp_path / "fifo")}
        os.mkfifo(tmp_path / "fifo")
    else:
        (path / name).unlink()
        os.mkfifo(path / name)
    with pytest.raises(InputError, match="not a regular file"):
        export_from(str(path), str(tmp_path / "out"), [], **given)


def test_a_header_of_gigabytes_is_refused(folder):
    path, _ = folder
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2**33))
        file.truncate(2**34)
    with pytest.raises(InputError, match="its header announces"):
        load_exported(path)


def test_a_card_near_its_largest_size_is_refused_before_anything_is_written(folder, tmp_path):
    path, change = folder
    change(odd="")
    size = (path / "card.json").stat().st_size
    change(odd="x" * (card_module._MAX_CARD_BYTES - size))  # the exported card has more lines
    read_card(path)
    with pytest.raises(InputError, match="at most 1,000,000 are possible"):
        export_from(str(path), str(tmp_path / "out"), [])
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".export")]
