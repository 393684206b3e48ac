"""The verb `bench`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.shared_flags import BackboneOption, JsonOption
from search_spaces.errors import InputError


def bench(
    source: Annotated[str, typer.Argument(metavar="RUN|CARD", help="Run folder, or a card.json.")],
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,32,128",
    rounds: Annotated[int, typer.Option(help="Measurements of each format and batch size.")] = 30,
    compiled: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Measure torch.compile too. It starts slowly."),
    ] = True,
    out: Annotated[
        str | None, typer.Option(help="New folder for bench.json and bench.png.")
    ] = None,
    backbone: BackboneOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the speed of a model's formats on the CPU, beside the paired network.

    Example: `relu-search bench runs/20260101-120000 --batch 1,128 --out out/bench`
    """
    from relu_search.export.bench import bench_table, run_bench, write_bench
    from relu_search.export.from_run import free_folder

    sizes = [size.strip() for size in batch.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,4}", size) and 1 <= int(size) <= 4096 for size in sizes):
        raise InputError(f"batch is {batch[:80]!r}; give sizes from 1 to 4096, such as 1,32,128")
    folder = None if out is None else free_folder(out)
    result = run_bench(
        source,
        batches=[int(size) for size in sizes],
        rounds=rounds,
        compiled=compiled,
        backbone=backbone,
        report=say,
    )
    if folder is not None:
        write_bench(result, folder)
        say(f"wrote {folder}/bench.json and bench.png")
    if as_json:
        print_json(result)
    else:
        print_parts(*bench_table(result))
