"""The verbs that hand a model over: export and bench."""

from __future__ import annotations

from typing import Annotated

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.options import JsonOption
from search_spaces.errors import InputError


def export(
    source: Annotated[str, typer.Argument(metavar="RUN|CARD", help="Run folder, or a card.json.")],
    out: Annotated[str, typer.Option(help="Folder to write to; a new or empty one.")],
    trial: Annotated[
        int | None, typer.Option(help="A trial of full length; the best one when left out.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="Comma-separated: safetensors (always written), onnx, pt2, python. TorchScript is "
            "left out because PyTorch has deprecated it.",
        ),
    ] = "safetensors",
    fold: Annotated[
        str,
        typer.Option(
            help="Make two convolutions with nothing between them one, in onnx and pt2: never, "
            "auto (where measured faster here), always. Exact at the image border too."
        ),
    ] = "never",
    normalise_inside: Annotated[
        bool,
        typer.Option(
            "--normalise-inside", help="onnx and pt2 take uint8 images (N, H, W, C), 0-255."
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Safetensors made elsewhere, for the card's network."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model that runs elsewhere, each form proven against the original before.

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
        fold=fold,
        normalise_inside=normalise_inside,
    )
    card = read_card(path)
    if as_json:
        print_json({"card": str(path), **card})
        return
    from relu_search.cli.export_lines import export_lines

    print_parts(f"wrote {path}", *export_lines(card))


def bench(
    source: Annotated[str, typer.Argument(metavar="RUN|CARD", help="Run folder, or a card.json.")],
    batch: Annotated[str, typer.Option(help="Batch sizes, comma-separated.")] = "1,32,128",
    rounds: Annotated[int, typer.Option(help="Samples of each form and batch size.")] = 30,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Time torch.compile too; slow to start.")
    ] = True,
    out: Annotated[
        str | None, typer.Option(help="New folder for bench.json and bench.png.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the forms of a model side by side, against the paired net of its backbone, on the CPU.

    Example: `relu-search bench runs/20260101-120000 --batch 1,128 --out out/bench`
    """
    from relu_search.export.bench import bench_table, run_bench, write_bench
    from relu_search.export.from_run import free_folder

    sizes = [size.strip() for size in batch.split(",")]
    if not all(size.isdecimal() and 1 <= int(size) <= 4096 for size in sizes):
        raise InputError(f"batch is {batch[:80]!r}; give sizes from 1 to 4096, such as 1,32,128")
    if not 2 <= rounds <= 100_000:
        raise InputError(f"rounds is {rounds}; it must be 2 to 100000")
    folder = None if out is None else free_folder(out)
    result = run_bench(
        source,
        batches=[int(size) for size in sizes],
        rounds=rounds,
        compiled=compiled,
        report=say,
    )
    if folder is not None:
        write_bench(result, folder)
        say(f"wrote {folder}/bench.json and bench.png")
    if as_json:
        print_json(result)
    else:
        print_parts(*bench_table(result))
