"""The verb `confirm`."""

from __future__ import annotations

from typing import Annotated

import typer

from relu_search.cli.console import (
    EXIT_INTERRUPTED,
    command,
    interruptible,
    print_json,
    print_parts,
    say,
)
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import BackboneOption, JsonOption
from relu_search.settings.machines import Machines
from relu_search.settings.search_options import SearchOptions

RESOURCES = ("concurrent", "cpus_per_trial", "gpus_per_trial", "max_failures")
PLACES = ("niceness", "address", "exchange")
DATA = ("data", "data_dir")
AS_IN_SEARCH = "as in the search"


@with_flags(
    flags(SearchOptions, "deterministic", *RESOURCES, default_text=AS_IN_SEARCH),
    flags(Machines, *PLACES, default_text=AS_IN_SEARCH),
    flags(SearchOptions, *DATA, default_text=AS_IN_SEARCH),
    flags(Machines, "in_process", "verbose"),
)
def confirm(
    given: Given,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a search.")],
    top: Annotated[int, typer.Option(help="Number of best found placements to retrain.")] = 3,
    modules: Annotated[
        str | None,
        typer.Option(
            help="Hand-designed modules to retrain, separated by commas. paired is always "
            "included. [default: those of the search]",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            help="Number of new seeds for each placement. Better or worse needs at least 6."
        ),
    ] = 6,
    first_seed: Annotated[
        int | None,
        typer.Option(help="First of these seeds. [default: one above the seed of the search]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each training. [default: as in the search]")
    ] = None,
    margin: Annotated[
        float,
        typer.Option(help="Placements within this many percentage points count as equivalent."),
    ] = 0.3,
    no_racing: Annotated[
        bool,
        typer.Option(
            "--no-racing", help="Train every placement on every seed, even one that cannot win."
        ),
    ] = False,
    backbone: BackboneOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retrain the best placements and the hand-designed modules on new seeds, and compare them.

    The test split is read once for each model, after all training is done. After an interruption
    the same command goes on. A higher --seeds adds seeds.

    Example: `relu-search confirm runs/20260101-120000 --top 3 --seeds 8`
    """
    from relu_search.confirmation.confirm import confirm as confirm_run
    from relu_search.confirmation.verdict_table import shrinkage_lines, verdict_table
    from relu_search.run_folder.folder import RunFolder

    folder = RunFolder.open(run)
    searched_on = Machines.of(folder.read_config()[0])
    places = {name: given.pop(name) for name in DATA if name in given}
    going_on = f"Interrupted; go on with: {command('confirm', folder)}, and the same options"
    with interruptible(going_on):
        outcome = confirm_run(
            run,
            top=top,
            modules=None if modules is None else modules.split(","),
            seeds=seeds,
            first_seed=first_seed,
            epochs=epochs,
            margin=margin / 100,
            racing=not no_racing,
            deterministic=given.pop("deterministic", None),
            **places,
            backbone=backbone,
            compute=searched_on.with_options(given),
            report=say,
        )
    if as_json:
        print_json({"run": run, "ending": outcome.ending, "verdicts": outcome.verdicts})
    for versus in dict.fromkeys(row["versus"] for row in outcome.verdicts):
        if not as_json:
            print_parts(verdict_table(outcome.verdicts, versus), "")
    if outcome.ending == "interrupted":
        say(going_on)
        raise typer.Exit(EXIT_INTERRUPTED)
    if not as_json:
        print_parts(*shrinkage_lines(outcome.verdicts))
    if outcome.failed:
        say(f"{outcome.failed} trainings failed (column reason); call again to repeat them.")
    say(f"Every run is in {run}/confirm.csv, the table in {run}/verdict.csv.")
