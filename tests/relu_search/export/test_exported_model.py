"""An exported model is the same model, and nothing else is loaded as one."""

from __future__ import annotations

import hashlib

import onnx
import pytest
import torch
from helpers.exporting import (
    NETWORKS,
    images,
    initial_network,
    network_of,
)
from safetensors.torch import load_file, save_file

from relu_search import export_model, load_exported
from relu_search.export.card import read_card
from relu_search.export.exported_model import _staged
from relu_search.export.from_run import free_folder
from search_spaces import InputError


@pytest.mark.parametrize(
    ("backbone", "placement", "channels"),
    [(*pair, (1, 3)[i % 2]) for i, pair in enumerate(NETWORKS)],
)
def test_a_loaded_network_gives_the_same_outputs(backbone, placement, channels, tmp_path):
    model = initial_network(backbone, placement, in_channels=channels)
    card = export_model(model, tmp_path / "a" / "b", details={"note": "mine"})
    assert card == tmp_path / "a" / "b" / "card.json"
    for path in (card, card.parent, str(card)):
        loaded = load_exported(path)
        assert not loaded.training
        assert loaded.placement == model.placement
        with torch.no_grad():
            assert torch.equal(loaded(images(channels)), model(images(channels)))


def test_a_card_can_be_exported_again_and_keeps_its_details(tmp_path):
    first = export_model(initial_network(), tmp_path / "a", details={"note": "mine", "seed": 4})
    second = export_model(first, tmp_path / "b", details={"seed": 5})
    a, b = read_card(first), read_card(second)
    assert b == {**a, "seed": 5}
    assert torch.equal(load_exported(first)(images()), load_exported(second)(images()))


def test_the_card_says_what_the_model_is(exported):
    folder, _ = exported
    card = read_card(folder)
    expected = {
        "schema": 3,
        "backbone": "plain-8",
        "width": 4,
        "placement": "01*3",
        "module": "2:1",
        "ratio": "2:1",
        "num_classes": 7,
        "in_channels": 1,
    }
    assert {key: card[key] for key in expected} == expected
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert card["files"] == {"model.safetensors": digest}
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]


@pytest.mark.parametrize(
    "entries",
    [
        {"schema": 0},
        {"schema": True},
        {"backbone": "vgg-16"},
        {"width": "4"},
        {"width": 8},
        {"placement": "01*4"},
        {"placement": "0x"},
        {"num_classes": 8},
        {"num_classes": 7.0},
        {"in_channels": 3},
        {"files": []},
        {"files": {}},
    ],
    ids=str,
)
def test_a_card_that_was_changed_is_refused(entries, exported):
    folder, change = exported
    change(**entries)
    with pytest.raises(InputError) as caught:
        load_exported(folder)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused(exported):
    folder, _ = exported
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_exported(folder)


@pytest.mark.parametrize("part", [0, 100, -1])
def test_truncated_weights_are_refused(part, exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:part])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_exported(folder)


def test_weights_with_one_altered_bit_are_refused(exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        load_exported(folder)


def test_weights_of_another_network_are_refused(exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, weights)
    with pytest.raises(InputError, match="do not fit"):
        load_exported(folder)


@pytest.mark.parametrize("formats", [["onnx2"], ["safetensors", ""]])
def test_an_unknown_format_is_refused_and_nothing_is_written(formats, tmp_path):
    with pytest.raises(InputError, match="is unknown"):
        export_model(initial_network(), tmp_path / "x", formats)
    assert not (tmp_path / "x").exists()


def test_a_model_that_is_not_ours_is_refused(tmp_path):
    with pytest.raises(InputError, match="Linear"):
        export_model(torch.nn.Linear(2, 2), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        export_model(initial_network(), tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


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


def test_a_form_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    from relu_search.export import formats

    monkeypatch.setattr(formats, "run_pt2", lambda _: lambda images: torch.zeros(len(images), 10))
    with pytest.raises(InputError, match="pt2 form is not the network"):
        export_model(network_of("plain-8", "2:1", steps=2), tmp_path / "a" / "b", ["pt2"])
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_finite_outputs_is_refused(tmp_path):
    model = network_of("plain-8", "2:1")
    with torch.no_grad():
        model.classifier.bias[0] = float("inf")
    with pytest.raises(InputError, match="not all finite"):
        export_model(model, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_weights_made_elsewhere_are_taken_when_they_fit(card, tmp_path):
    other = network_of("plain-8", "2:1", steps=3)
    save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    export_model(card, tmp_path / "out", weights=tmp_path / "theirs.safetensors")
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_exported(tmp_path / "out")(images), other(images))
    assert read_card(tmp_path / "out")["training"] is None


# --- the folder in which files wait until all are complete --------------------------------------


def test_exports_in_containers_do_not_meet(tmp_path, monkeypatch):
    """There each process is number 1, and a killed one has left its folder."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    (tmp_path / ".export-1").mkdir()
    with _staged(tmp_path / "other") as staging:
        (staging / "file").write_text("mine")
        export_model(initial_network(), tmp_path / "new")
        assert (staging / "file").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "other"]


def test_what_a_killed_export_left_is_removed_by_the_next_one(tmp_path):
    """Also within the output folder itself, which counts as empty then."""
    for out in (tmp_path / "out", tmp_path / "a" / "b"):
        out.mkdir(parents=True)
        (out / ".export-12345").mkdir()
        (out / ".export-12345" / "model.safetensors").write_text("half")
        assert free_folder(str(out)) == out
        export_model(initial_network(), out)
        assert sorted(path.name for path in out.iterdir()) == ["card.json", "model.safetensors"]


def test_a_new_folder_appears_with_all_its_files(tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", dies)
    with pytest.raises(KeyboardInterrupt):
        export_model(initial_network(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_in_a_folder_with_content_the_card_comes_last(exported, monkeypatch):
    folder, _ = exported
    moved = []

    def move(_file, place):
        moved.append(place.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", move)
    with pytest.raises(KeyboardInterrupt):
        export_model(initial_network(), folder)
    assert moved == ["model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.safetensors"]


def test_the_folder_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").mkdir()
    export_model(initial_network(), tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode
