"""Exports by the command line: from a card, from a run, and bad input."""

from __future__ import annotations

import pytest
from helpers.exporting import (
    network_of,
)
from safetensors.torch import save_file

from relu_search.export.card import read_card


def test_weights_that_do_not_fit_name_the_first_three_mismatches(card, tmp_path, cli):
    tensors = network_of("plain-8", "2:1").state_dict()
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


def test_a_run_is_proven_on_its_validation_images_and_hands_on_its_verdict(
    searched, small_config, tmp_path, cli_json
):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(searched.run.path, run)
    best = searched.best_trial["placement"]
    (run / "verdict.csv").write_text(f"arm,placement,verdict\nother,1,worse\nbest,{best},better\n")
    card = cli_json("export", run, "--out", tmp_path / "x")
    assert card["forms"]["safetensors"]["proof"]["images"] == {"random": 32, "validation": 32}
    assert card["verdict"] == {"arm": "best", "placement": best, "verdict": "better"}
    assert read_card(tmp_path / "x")["training"]["trial"] == searched.best_trial["trial"]
