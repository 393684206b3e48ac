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
    from relu_search.analysis.answer import answer_numbers, best_drawing, report_text
    from relu_search.analysis.leaderboard import ranked, rows_of
    from relu_search.confirmation.looks import OLD_VERDICTS
    from relu_search.confirmation.verdict_table import answer_of, floor_answer, stored_verdicts
    from relu_search.ratios.best_ratio import best_ratio
    from relu_search.run_folder.folder import RunFolder

    folder = RunFolder.open(run)
    table, caveat = report_text(folder)
    verdicts, is_old = stored_verdicts(folder)
    verdict_lines = answer_of(verdicts) + [OLD_VERDICTS] * is_old
    verdict_lines += floor_answer(folder) if verdicts else []
    config, trials = folder.read_config()[0], folder.read_trials()
    ratios = best_ratio(trials, config)
    written = None
    if page:  # before anything is printed: it may find damage
        from relu_search.report.run_report import write_report

        written = str(write_report(folder))
    if not as_json:
        of_ratios = () if ratios is None else ("", ratios.table(), ratios.sentence())
        best = best_drawing(trials, config)
        drawn = () if best is None else ("", f"Best placement of the search: {best[0]}", best[1])
        above = [*verdict_lines, ""] if verdict_lines else []
        print_parts(*above, table, caveat, *drawn, *of_ratios)
    if written is not None:
        say(f"Report: {written}")
    if as_json:
        print_json(
            {
                "answer": answer_numbers(trials, config),
                "best_ratio": None if ratios is None else ratios.to_json(),
                "verdicts": verdicts,
                "verdict_answer": verdict_lines,
                "trials": rows_of(ranked(trials, config.optimised)),
                "note": caveat,
                "report": written,
            }
        )
