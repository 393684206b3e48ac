"""The verb `report`."""

from __future__ import annotations

from typing import Annotated

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.shared_flags import JsonOption


def report(
    run: Annotated[str, typer.Argument(help="Run folder of a search.")],
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write report.html and figures into RUN.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show the leaderboard of a finished or running search, and write its report with figures.

    Example: `relu-search report runs/20260101-120000`
    """
    from relu_search.analysis.answer import report_text
    from relu_search.analysis.leaderboard import ranked, rows_of
    from relu_search.run_folder.folder import RunFolder
    from relu_search.settings.metrics import METRICS

    folder = RunFolder.open(run)
    table, caveat = report_text(folder)
    written = None
    if page:  # before anything is printed: it may find damage
        from relu_search.report.run_report import write_report

        written = str(write_report(folder))
    if not as_json:
        print_parts(table, caveat)
    if written is not None:
        say(f"Report: {written}")
    if as_json:
        metric = METRICS[folder.read_config()[0].metric]
        rows = rows_of(ranked(folder.read_trials(), metric))
        print_json({"trials": rows, "note": caveat, "report": written})
