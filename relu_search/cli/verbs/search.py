"""The verb `search`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relu_search.cli.console import ReportAtEnd, begin, command, results_alone, show_outcome
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import ConfigOption, JsonOption
from relu_search.cli.supervisor import EXIT_FAILURE, EXIT_INTERRUPTED, Progress, command_began
from relu_search.settings.machines import Machines
from relu_search.settings.search_options import SearchOptions
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from relu_search.run_folder.folder import RunFolder
    from relu_search.search.run_search import SearchOutcome
    from relu_search.settings.resolved_config import ResolvedConfig
    from relu_search.settings.search_config import SearchConfig

_SUMMARY, _REPORT = 1.0, 4.0
"""Seconds that the end of a search takes after its last training, and those of its report."""


@with_flags(flags(SearchOptions), flags(Machines, "verbose"))
def search(
    given: Given,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Run folder of a search to resume.", rich_help_panel="Run"
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel="Run")
    ] = False,
    config: ConfigOption = None,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Start Ray's dashboard on 127.0.0.1:8265. Needs ray[default].",
            rich_help_panel="Run",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search for the best ReLU placement within a number of trials, or within a time.

    Each trial trains one placement. Trials that fall behind are stopped early.

    Example: `relu-search search --data cifar10 --download --backbone preresnet-20 --trials 50`
    """
    shown: dict[str, Any] = {"dashboard": dashboard, "verbose": given.pop("verbose", False)}
    report = ReportAtEnd()
    with results_alone():
        if resume is None:
            outcome = _new_search(given, config, report, overwrite=overwrite, **shown)
        elif overwrite:
            raise InputError("--overwrite and --resume exclude each other; give one of them")
        else:
            outcome = _resumed_search(resume, given, config, report, **shown)
    show_outcome(outcome, report.path, as_json)
    if outcome.ending == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.best_trial is None:
        raise typer.Exit(EXIT_FAILURE)


def _new_search(
    given: Given, file: Path | None, report: ReportAtEnd, **options: Any
) -> SearchOutcome:
    from relu_search.cli.live_view import LiveView
    from relu_search.search.run_search import run_search
    from relu_search.settings.search_config import SearchConfig

    config = SearchConfig.from_options(given, file)
    begun = partial(_begin, verbose=options["verbose"])
    listeners = (LiveView(), report)
    return run_search(config, listeners=listeners, begun=begun, **_in_time(config), **options)


def _resumed_search(
    run: str, given: Given, file: Path | None, report: ReportAtEnd, **options: Any
) -> SearchOutcome:
    from relu_search.cli.live_view import LiveView
    from relu_search.run_folder.folder import RunFolder
    from relu_search.search.resuming import changed_config
    from relu_search.search.run_search import resume_search
    from relu_search.settings.search_config import SearchConfig

    in_file = {} if file is None else SearchConfig.read_options(file)
    changes = in_file | given
    folder = RunFolder.open(run)
    times = _in_time(changed_config(folder, changes))  # refuses them before anything is begun
    _begin(folder, changed=bool(changes), verbose=options["verbose"])
    return resume_search(run, listeners=(LiveView(), report), **times, **options, **changes)


def _in_time(config: SearchConfig | ResolvedConfig) -> dict[str, Any]:
    """What lets the time budget count from the start of the command to the end of its output."""
    return {"since": command_began(), "reserve": _SUMMARY + (_REPORT if config.report else 0)}


def _begin(run: RunFolder, *, changed: bool = False, verbose: bool) -> None:
    progress = Progress(
        begun=str(run.path / "config.toml"),
        table=str(run.table("trials.csv")),
        # Changed options are stored only once Ray has started.
        command=command("search --resume", run, same_options=changed),
    )
    begin(progress, verbose=verbose)
