"""`relu-search train`, and `export` of what it wrote."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.command_line import by_arguments, check_refused, files_under

from relu_search import load_exported

TINY = ["--backbone", "plain-5", "--width", "2", "--train-limit", "10", "--epochs", "1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backbone", "resnet-9"], "nearest: resnet-8 and resnet-10"),
        (["--data", "parquet:given/full"], r"no train\.parquet"),
        (["--train-limit", "5000"], "5000"),
        (["--placement", "01*"], "placement"),
        (["--placement", "1"], "3"),
        (["--device", "tpu"], "'tpu' is unknown"),
        (["--out", "given/full"], "given/full"),
        (["--config", "given/unknown.toml"], "'colour'"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["train", *TINY, *arguments], says)


def test_cuda_is_refused_where_there_is_none(cli, folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_refused(cli, folder, ["train", *TINY, "--device", "cuda"], "cuda is not available")


def test_train_writes_a_model_that_export_hands_on(cli, folder):
    code, out, err = cli("train", *TINY, "--placement", "2:1", "--out", "model", "--json")
    assert code == 0
    row = json.loads(out)
    assert err.count("epoch 1/1") == 1
    assert (row["placement"], row["epochs"], row["failure"]) == ("010", 1, None)
    code, out, _ = cli("export", "model", "--out", "copy", "--json")
    assert code == 0
    card = json.loads(out)
    assert card["training"]["val_accuracy"] == row["val_accuracy"]
    a, b = load_exported("model"), load_exported("copy/card.json")
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(a(x), b(x))


def test_train_without_out_writes_nothing(cli, folder):
    before = files_under(folder)
    code, out, err = cli("train", *TINY)
    assert (code, out) == (0, "")
    assert "val acc" in err
    assert files_under(folder) == before


def test_train_takes_its_options_from_a_file_and_the_command_line_wins(cli_json, folder):
    file = folder / "given" / "options.toml"
    file.write_text('backbone = "plain-5"\nwidth = 2\nepochs = 3\ntrain_limit = 10\n')
    row = cli_json("train", "--config", file, "--epochs", "1")
    assert (row["backbone"], row["epochs"]) == ("plain-5", 1)
