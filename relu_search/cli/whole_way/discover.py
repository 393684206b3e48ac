"""The verb `discover`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from relu_search.cli.console import (
    begin,
    command,
    print_json,
    print_parts,
    results_alone,
    say,
)
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import ConfigOption, JsonOption
from relu_search.cli.supervisor import EXIT_FAILURE, EXIT_INTERRUPTED, Progress, command_began
from relu_search.settings.machines import Machines
from relu_search.settings.option_fields import options_of
from relu_search.settings.search_options import SearchOptions
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from relu_search.discovery.discover import Discovery, Phase
    from relu_search.run_folder.folder import RunFolder

_OTHER_HELP = ("trials", "time_budget")
_NO_SINGLE_BEST = ("objective", "at_least_accuracy", "latency_form", "latency_batch")
_OPTIONS = [
    name for name in options_of(SearchOptions) if name not in (*_OTHER_HELP, *_NO_SINGLE_BEST)
]
_TABLES = {"search": "trials.csv", "confirmation": "confirm.csv"}


@with_flags(flags(SearchOptions, *_OPTIONS), flags(Machines, "verbose"))
def discover(
    given: Given,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long search and confirmation may take together, such as 90m, 2h or 1d12h. "
            "[default: no limit]",
            rich_help_panel="Search",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Number of trainings of search and confirmation together. [default: 48, and 6 for "
            "each placement that is confirmed; with --time-budget no limit]",
            rich_help_panel="Search",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            help="Number of best found placements to confirm. [default: 3]",
            rich_help_panel="Search",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Run folder of a discovery to go on with. The same command with --out does so, "
            "too.",
            rich_help_panel="Run",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel="Run")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """From data to a model with a verdict: search, confirm, report and export within one budget.

    The confirmed winner is exported, or `paired` if nothing is better. The last lines are the
    answer.

    Example: `relu-search discover --data cifar10 --backbone preresnet-20 --time-budget 8h`
    """
    from relu_search.cli.live_view import LiveView
    from relu_search.discovery.discover import Watchers, begun_in, resume_discovery
    from relu_search.discovery.discover import discover as discover_new
    from relu_search.settings.search_config import SearchConfig

    verbose = given.pop("verbose", False)
    budgets = {"trials": trials, "time_budget": time_budget}
    given |= {name: value for name, value in budgets.items() if value is not None}
    options = ({} if config is None else SearchConfig.read_options(config)) | given
    if resume is None and not overwrite and begun_in(options.get("out")):
        SearchConfig.from_options(given, config)  # refuses bad values
        resume = options["out"]
    if resume is not None and overwrite:
        raise InputError("--overwrite and --resume exclude each other; give one of them")
    begun = partial(_begin, changed=resume is not None and bool(options), verbose=verbose)
    watchers = Watchers(begun=begun, listeners=(LiveView(),), say=say)
    how = {"top": top, "verbose": verbose, "watchers": watchers, "since": command_began()}
    with results_alone():
        if resume is None:
            typed = SearchConfig.from_options(given, config)
            outcome = discover_new(typed, overwrite=overwrite, **how)
        else:
            outcome = resume_discovery(resume, **how, **options)
    _show(outcome, as_json)


def _begin(run: RunFolder, phase: Phase, *, changed: bool, verbose: bool) -> None:
    progress = Progress(
        begun=str(run.path / "config.toml"),
        table=str(run.table(_TABLES[phase])),
        # Changed options are stored only once Ray has started.
        command=command("discover --resume", run, same_options=changed),
    )
    begin(progress, verbose=verbose)


def _show(outcome: Discovery, as_json: bool) -> None:
    """Print the leaderboard, the verdicts, and the answer last."""
    from dataclasses import asdict

    from relu_search.analysis.answer import report_text
    from relu_search.confirmation.verdict_table import LEGEND, verdict_table

    run = outcome.run
    if as_json:
        winner = None if outcome.winner is None else asdict(outcome.winner)
        if winner is not None:
            winner["card"] = str(winner["card"])
        print_json(
            {
                "run": str(run.path),
                "ending": outcome.ending,
                "winner": winner,
                "answer": outcome.answer,
                "verdicts": outcome.verdicts,
            }
        )
    if outcome.ending == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if not as_json:
        tables = [
            part
            for versus in dict.fromkeys(row["versus"] for row in outcome.verdicts)
            for part in (verdict_table(outcome.verdicts, versus), "")
        ]
        legend = [LEGEND, ""] if tables else []
        print_parts(*report_text(run), "", *tables, *legend, *outcome.answer)
    if outcome.winner is None:
        say(f"The search found no best placement, so nothing was confirmed: {run.path}")
        raise typer.Exit(EXIT_FAILURE)
