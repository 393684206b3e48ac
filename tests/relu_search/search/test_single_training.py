"""One training, exported."""

from __future__ import annotations

import pytest
import torch

from relu_search import SearchConfig
from relu_search.export.card import read_card
from relu_search.search.single_training import train_single
from search_spaces import InputError


def test_train_single_reports_what_it_exports(small_config, tmp_path):
    lines: list[str] = []
    config = small_config(epochs=2, train_limit=20, width=2, out=str(tmp_path / "m"))
    row = train_single(config, "10*3", device="cpu", report=lines.append)
    assert (row["placement"], row["relus"], row["epochs"], row["failure"]) == ("10*3", 3, 2, None)
    assert [m["epoch"] for m in row["history"]] == [1, 2]
    assert row["val_accuracy"] == row["history"][-1]["val_accuracy"]
    card = read_card(tmp_path / "m")
    assert card["training"]["val_accuracy"] == row["val_accuracy"]
    assert card["training"]["recipe"]["epochs"] == 2
    assert len(lines) == 4  # headline, two epochs, the card


def test_train_single_does_not_touch_a_folder_with_files(small_config, tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        train_single(small_config(out=str(tmp_path)), "paired")
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_a_search_trains_a_placement_as_train_single_does(searched, small_config):
    best = searched.best_trial
    row = train_single(small_config(), best["placement"], device="cpu")
    for name in ("val_accuracy", "val_loss", "train_loss", "params", "macs", "relu_elements"):
        assert row[name] == best[name]


def test_a_network_too_large_for_the_gpu_is_one_line(cli, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("relu_search.search.single_training.run_trial", full)
    code, out, err = cli("train", "--backbone", "plain-5", "--width", 2, "--train-limit", 20)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last == (
        "relu-search: out of GPU memory: CUDA out of memory. Tried to allocate 2.00 GiB, alone on "
        "the card; lower --width or the batch size"
    )


def test_a_network_that_fits_no_memory_is_refused_before_it_is_built(monkeypatch):
    def built(*_arguments, **_options):
        raise AssertionError("built")

    monkeypatch.setattr("relu_search.search.single_training.run_trial", built)
    monkeypatch.setattr("trials.files.memory.memory_limit", lambda: 2**30)
    config = SearchConfig(backbone="plain-302", width=1024)
    with pytest.raises(InputError, match=r"training plain-302, width 1024 would take .* GiB"):
        train_single(config, "paired")
