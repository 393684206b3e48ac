"""The verb `export`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from relu_search.cli.console import print_json, print_parts
from relu_search.cli.shared_flags import BackboneOption, JsonOption


def export(
    source: Annotated[str, typer.Argument(metavar="RUN|CARD", help="Run folder, or a card.json.")],
    out: Annotated[str, typer.Option(help="New or empty folder to write to.")],
    trial: Annotated[
        int | None, typer.Option(help="Number of a full-length trial. [default: the best one]")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="Formats, separated by commas: safetensors (always written), onnx, pt2, python. "
            "TorchScript is not offered because PyTorch has deprecated it.",
        ),
    ] = "safetensors",
    fold: Annotated[
        str,
        typer.Option(
            help="Merge two convolutions with nothing between them into one, in onnx and pt2: "
            "never, auto (only where it is measured to be faster here) or always. The result is "
            "exact, also at the image border."
        ),
    ] = "never",
    normalise_inside: Annotated[
        bool,
        typer.Option(
            "--normalise-inside",
            help="onnx and pt2 take uint8 images of shape (N, H, W, C), 0 to 255.",
        ),
    ] = False,
    opset: Annotated[
        int | None,
        typer.Option(
            help="Version of the ONNX operators, 18 or higher, for runtimes that need a certain "
            "one. [default: the exporter's]"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Safetensors file with other weights for the network of the card."
        ),
    ] = None,
    backbone: BackboneOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a model in one or more formats. Each one is compared with the original first.

    Example: `relu-search export runs/20260101-120000 --format onnx,pt2,python --out out/best`
    """
    from relu_search.export.card import read_card
    from relu_search.export.from_run import export_from

    path = export_from(
        source,
        out,
        [name.strip() for name in formats.split(",")],
        trial=trial,
        weights=weights,
        backbone=backbone,
        fold=fold,
        normalise_inside=normalise_inside,
        opset=opset,
    )
    card = read_card(path)
    if as_json:
        print_json({"card": str(path), **card})
        return
    print_parts(f"wrote {path}", *_lines_about(card))


def _lines_about(card: Mapping[str, Any]) -> Iterator[str]:
    """Lines about an exported card: the comparison of each format, then what was folded."""
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
    if folding["norms"].startswith("torch.fx"):
        yield f"fold {folding['mode']}: {folding['norms']}"
        return
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
