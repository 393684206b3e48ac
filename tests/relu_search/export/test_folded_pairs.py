"""The report on folded pairs of convolutions."""

from __future__ import annotations

import itertools

from relu_search.export.card import read_card


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
