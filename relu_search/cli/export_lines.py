"""What `relu-search export` prints: the proof of every form, and what was folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def export_lines(card: Mapping[str, Any]) -> Iterator[str]:
    """Lines about an exported card, top to bottom."""
    for name, form in card["forms"].items():
        proof = form["proof"]
        images = " and ".join(f"{n} {kind}" for kind, n in proof["images"].items())
        opset = f", opset {form['opset']}" if "opset" in form else ""
        yield (
            f"{form['file']} ({name}{opset}): largest difference "
            f"{proof['largest_difference']:.1e} (tolerance {proof['tolerance']:.0e}), same class "
            f"for {proof['argmax_agreement']:.1%} of {images} images, batch "
            f"{' and '.join(map(str, proof['batches']))}"
        )
    elements = card["relu_elements"]
    yield f"ReLU elements per image: {elements['paired']:,} paired, {elements['this']:,} here"
    if card["folding"] is not None:
        yield from _folding_lines(card["folding"])


def _folding_lines(folding: Mapping[str, Any]) -> Iterator[str]:
    pairs = folding["pairs"]
    folded = {form for pair in pairs for form in pair["folded_in"]}
    yield (
        f"fold {folding['mode']}: {len(pairs)} pairs of convolutions could be one"
        + (f"; folded in {', '.join(sorted(folded))}" if folded else "; none was folded")
    )
    if folding["mode"] == "never":
        return
    for pair in pairs:
        yield (
            f"  {pair['first']} - {pair['second']}: exact, border {pair['border']}, MACs "
            f"{pair['macs_before']:,} -> {pair['macs_after']:,}; folded in "
            f"{', '.join(pair['folded_in']) or 'none'}"
        )
        for backend, batches in pair["latency"].items():
            for size, both in batches.items():
                before, after = both["before"], both["after"]
                yield (
                    f"    {backend}, batch {size}: {_ms(before)} -> {_ms(after)} ms "
                    f"(median, quartiles, n = {before['n']})"
                )


def _ms(timing: Mapping[str, Any]) -> str:
    return f"{timing['median_ms']:.3f} ({timing['q25_ms']:.3f}-{timing['q75_ms']:.3f})"
