"""The verb `reproduce`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from relu_search.cli.console import (
    begin,
    print_json,
    print_parts,
    results_alone,
    say,
)
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import JsonOption
from relu_search.cli.supervisor import EXIT_INTERRUPTED, Progress, command_began
from relu_search.cli.verbs.confirm import PLACES, RESOURCES
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.settings.machines import Machines
from relu_search.settings.option_fields import options_of
from relu_search.settings.search_options import SearchOptions
from search_spaces.errors import InputError


@with_flags(
    flags(ReproduceSettings),
    flags(SearchOptions, "time_budget", *RESOURCES),
    flags(Machines, *PLACES, "in_process", "verbose"),
)
def reproduce(
    given: Given,
    study: Annotated[
        str,
        typer.Argument(help="table1, table2, table3, figure6, figure7, figure8 or claims."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder to write to. If it holds the same experiment, that goes on. "
            "[default: under ./runs]",
            rich_help_panel="Run",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat an experiment of the paper with its own protocol, and compare with its results.

    Trains on all training images and reads the test split after every epoch, as the paper does.
    With smaller --depths, --epochs, --width or --train-limit, the output says how the setting
    differs from the paper's.

    Example: `relu-search reproduce table1 --data digits --width 8 --depths 38,62 --seeds 6`
    """
    from dataclasses import asdict

    from relu_search.reproduce.comparison import comparison_table, write_comparison
    from relu_search.reproduce.run_experiment import RUNS, SETTINGS
    from relu_search.reproduce.run_experiment import reproduce as run_experiment

    chosen = {name: given.pop(name) for name in options_of(ReproduceSettings) if name in given}
    if "depths" in chosen:
        chosen["depths"] = _numbers("depths", chosen["depths"])
    settings = ReproduceSettings(experiment=study, **chosen)
    time_budget = given.pop("time_budget", None)
    machines = Machines().with_options(given)

    def begun(folder: Path) -> None:
        again = f"the same command with --out {shlex.quote(str(folder))}"
        progress = Progress(begun=str(folder / SETTINGS), table=str(folder / RUNS), command=again)
        begin(progress, verbose=machines.verbose)

    with results_alone():
        done = run_experiment(
            settings,
            out=out,
            compute=machines,
            time_budget=time_budget,
            since=command_began(),
            report=say,
            begun=begun,
        )
    comparison = write_comparison(settings, done)
    if as_json:
        print_json(
            {
                "out": str(done.folder),
                "complete": done.is_complete,
                "rows": [asdict(row) | {"sign": row.sign} for row in comparison.rows],
                "influences": [asdict(item) for item in comparison.influences],
                "notes": comparison.lines,
            }
        )
    else:
        print_parts(comparison_table(comparison), *comparison.lines)
    say(f"Everything is in {done.folder}: {', '.join(path.name for path in comparison.figures)}.")
    if not done.is_complete:
        raise typer.Exit(EXIT_INTERRUPTED)


def _numbers(what: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InputError(f"{what} is {text!r:.60}; write whole numbers with commas, such as 38,62")
    return tuple(dict.fromkeys(map(int, parts)))
