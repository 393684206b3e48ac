"""What bench times, prints and writes. No assertion about speed."""

from __future__ import annotations

import json

import pytest
import torch

from relu_search import export_model
from search_spaces import Backbone, build


@pytest.fixture
def card(tmp_path):
    model = build(Backbone.parse("plain-8", 4), "2:1", generator=torch.Generator().manual_seed(0))
    export_model(model, tmp_path / "card", details={"image_size": [8, 8]})
    return tmp_path / "card"


def test_bench_puts_paired_and_best_side_by_side(card, tmp_path, cli_json):
    out = tmp_path / "bench"
    result = cli_json("bench", card, "--batch", "1,3", "--rounds", 3, "--no-compile", "--out", out)
    forms = {"eager", "BN folded", "ONNX Runtime"}
    seen = {(row["placement"], row["form"], row["batch"]) for row in result["rows"]}
    expected = {("1*6", form, batch) for form in forms for batch in (1, 3)}
    expected |= {("01*3", form, batch) for form in forms | {"pairs folded"} for batch in (1, 3)}
    assert seen == expected
    assert len(result["rows"]) == len(seen)
    for row in result["rows"]:
        assert row["n"] == 3
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        speed = 1000 * row["batch"] / row["median_ms"]
        assert row["images_per_second"] == pytest.approx(speed, rel=1e-2)
    assert result["networks"]["01*3"]["foldable_pairs"] == 3
    assert result["networks"]["01*3"]["relu_elements"] < result["networks"]["1*6"]["relu_elements"]
    assert json.loads((out / "bench.json").read_text()) == result
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_what_was_timed(card, cli):
    code, out, _ = cli("bench", card, "--batch", "2", "--rounds", 2, "--no-compile")
    assert code == 0
    for text in ("paired", "01*3", "pairs folded", "ONNX Runtime", "n = 2", "ReLU elements"):
        assert text in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--batch", "0"], "batch is"),
        (["--batch", "1,x"], "batch is"),
        (["--rounds", "1"], "rounds is 1"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says, card, cli):
    code, out, err = cli("bench", card, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
