"""The verb `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.shared_flags import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from relu_search.many_runs.comparison import Comparison


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Run folders of searches.")
    ],
    page: Annotated[
        str | None,
        typer.Option("--page", metavar="FILE", help="Write one HTML page with figures here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare searches: options, leaderboards, common placements, regret, Pareto fronts.

    Samplers, depths, data sets and recipes can be compared. Nothing is trained.

    Example: `relu-search compare runs/gp runs/random --page comparison.html`
    """
    from relu_search.many_runs.comparison import compare as compare_runs
    from relu_search.many_runs.comparison_page import write_page
    from trials.files.paths import user_path

    found = compare_runs(runs)
    written = None if page is None else write_page(found, user_path(page))
    if as_json:
        print_json(found.to_json() | {"page": None if written is None else str(written)})
        return
    lines = [one.text(found.metric) for one in found.differences if one.placements]
    print_parts(
        *(_table("option", found.runs, found.options), "") if found.options else (),
        _table("placement", found.runs, [(row.name, row.cells) for row in found.board]),
        "",
        *(_table("", found.runs, _last_rows(found)), ""),
        *lines,
        *found.notes,
    )
    if written is not None:
        say(f"Page: {written}")


def _last_rows(found: Comparison) -> list[tuple[str, list[str]]]:
    """Trials, training hours and regret at the end of each run."""
    ends = [found.regrets[run].tail(1).to_dict("records") for run in found.runs]
    metric = found.metric
    forms: dict[str, tuple[str, float, int]] = {
        "trials": ("trials", 1, 0),
        "training hours": ("hours", 1, 2),
        f"regret ({metric.difference_unit})": ("regret", metric.factor, metric.decimals),
    }
    return [
        (name, [f"{end[0][key] * factor:.{digits}f}" if end else "-" for end in ends])
        for name, (key, factor, digits) in forms.items()
    ]


def _table(first: str, runs: list[str], rows: list[tuple[str, list[str]]]) -> Table:
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in (first, *runs):
        table.add_column(name, overflow="fold")
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
