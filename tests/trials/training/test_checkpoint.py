"""Weights on disk: whole or not at all, and refused when they do not fit."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from search_spaces import InputError, build
from trials.training.checkpoint import load_weights, save_weights


def network(seed: int = 0, **options):
    generator = torch.Generator().manual_seed(seed)
    return build("plain-5", width=4, generator=generator, **options)


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_file_holds_exactly_the_state_of_the_model(tmp_path):
    model = network().to(memory_format=torch.channels_last)
    save_weights(model, tmp_path / "model.safetensors")
    assert equal(load_file(tmp_path / "model.safetensors"), model.state_dict())


def test_weights_move_between_placements(tmp_path):
    saved, fresh = network(1, placement="paired"), network(2, placement="linear")
    save_weights(saved, tmp_path / "w")
    load_weights(fresh, tmp_path / "w")
    assert equal(saved.state_dict(), fresh.state_dict())


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES = {
    "cut short": cut,
    "pickled": lambda path: torch.save({"a": torch.zeros(1)}, path),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_clear_line_and_changes_nothing(tmp_path, damage):
    model, path = network(), tmp_path / "model.safetensors"
    save_weights(network(1), path)
    DAMAGES[damage](path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"cannot be read .*safetensors file is needed") as caught:
        load_weights(model, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert equal(before, model.state_dict())


def test_wrong_shapes_name_the_first_three(tmp_path):
    tensors = network().state_dict()
    names = sorted(name for name, value in tensors.items() if value.ndim)
    for name in names[:5]:
        tensors[name] = torch.zeros(7, 7)
    save_file(tensors, tmp_path / "w")
    with pytest.raises(InputError, match="do not fit the network: 5 mismatches") as caught:
        load_weights(network(), tmp_path / "w")
    message = str(caught.value)
    shape = tuple(network().state_dict()[names[0]].shape)
    assert f"{names[0]}: expected {shape}, found (7, 7)" in message
    assert [name for name in names if f"{name}:" in message] == names[:3]
    assert "\n" not in message


def test_missing_and_surplus_tensors_are_told_apart(tmp_path):
    tensors = network().state_dict()
    del tensors["classifier.bias"]
    tensors["extra"] = torch.zeros(2)
    save_file(tensors, tmp_path / "w")
    with pytest.raises(InputError, match="2 mismatches") as caught:
        load_weights(network(), tmp_path / "w")
    assert "classifier.bias: expected (10,), found nothing" in str(caught.value)
    assert "extra: expected nothing, found (2,)" in str(caught.value)


def refused(*_):
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("owner", "function", "replacement"),
    [
        (os, "fsync", refused),
        (os, "replace", refused),
    ],
    ids=["while writing", "while renaming"],
)
def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(
    tmp_path, monkeypatch, owner, function, replacement
):
    path = tmp_path / "model.safetensors"
    save_weights(network(1), path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, replacement)
        with pytest.raises(OSError, match="disk full"):
            save_weights(network(2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
