"""The verb `confirm`."""

from __future__ import annotations

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
from relu_search.cli.shared_flags import BackboneOption, JsonOption
from relu_search.cli.supervisor import EXIT_FAILURE, EXIT_INTERRUPTED, Progress, command_began
from relu_search.settings.machines import Machines
from relu_search.settings.search_options import RECIPE_OPTIONS, SearchOptions

if TYPE_CHECKING:
    from rich.table import Table

    from relu_search.ratios.curve import RatioCurve

RESOURCES = ("concurrent", "cpus_per_trial", "gpus_per_trial", "max_failures")
PLACES = ("niceness", "address", "exchange")
DATA = ("data", "data_dir", "weights")
AS_IN_SEARCH = "as in the search"


@with_flags(
    flags(SearchOptions, "recipe", *RECIPE_OPTIONS, default_text=AS_IN_SEARCH),
    flags(SearchOptions, "deterministic", *RESOURCES, default_text=AS_IN_SEARCH),
    flags(Machines, *PLACES, default_text=AS_IN_SEARCH),
    flags(SearchOptions, "time_budget"),
    flags(SearchOptions, *DATA, default_text=AS_IN_SEARCH),
    flags(Machines, "in_process", "verbose"),
)
def confirm(
    given: Given,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a search.")],
    top: Annotated[int, typer.Option(help="Number of best found placements to retrain.")] = 3,
    ratios: Annotated[
        int | None,
        typer.Option(
            help="Instead of the top, retrain the best placement of each of so many ratios, spread "
            "over the ratios that the search has tried, and say which ratio is the best.",
        ),
    ] = None,
    modules: Annotated[
        str | None,
        typer.Option(
            help="Modules or placements of your own to retrain, separated by commas, such as "
            "`2:1,01*6+1*12`, also by the names that --try of the search gave them. They count as "
            "hand-designed. paired is always included. [default: the modules of the search, and "
            "its placements of --try]",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            help="Number of new seeds for each placement. With fewer than 6 there is no verdict."
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
    from relu_search.confirmation.verdict_table import (
        LEGEND,
        answer_of,
        far_runs_line,
        floor_answer,
        shrinkage_lines,
        verdict_table,
    )
    from relu_search.run_folder.folder import RunFolder
    from relu_search.settings.option_files import changed_recipe

    folder = RunFolder.open(run)
    searched = folder.read_config()[0]
    changes = {name: given.pop(name) for name in ("recipe", *RECIPE_OPTIONS) if name in given}
    base = changes.pop("recipe", searched.training_recipe)
    recipe = changed_recipe(base, changes) if changes or isinstance(base, str) else None
    places = {name: given.pop(name) for name in DATA if name in given}
    table = str(folder.table("confirm.csv"))
    progress = Progress(
        begun=table, table=table, command=command("confirm", folder, same_options=True)
    )
    deterministic = given.pop("deterministic", None)
    time_budget = given.pop("time_budget", None)
    compute = Machines.of(searched).with_options(given)
    begin(progress, verbose=compute.verbose)
    with results_alone():
        outcome = confirm_run(
            run,
            top=top,
            ratios=ratios,
            modules=None if modules is None else modules.split(","),
            seeds=seeds,
            first_seed=first_seed,
            epochs=epochs,
            recipe=recipe,
            margin=margin / 100,
            racing=not no_racing,
            time_budget=time_budget,
            since=command_began(),
            deterministic=deterministic,
            **places,
            backbone=backbone,
            compute=compute,
            report=say,
        )
    rows = outcome.verdicts
    floor_lines = floor_answer(folder) if rows else []
    if as_json:
        print_json(
            {
                "run": run,
                "ending": outcome.ending,
                "answer": answer_of(rows) + floor_lines,
                "verdicts": rows,
                "ratios": None if outcome.curve is None else outcome.curve.to_json(),
            }
        )
    elif rows:
        tables = [
            part
            for versus in dict.fromkeys(row["versus"] for row in rows)
            for part in (verdict_table(rows, versus), "")
        ]
        far = far_runs_line(rows)
        print_parts(
            *answer_of(rows),
            *floor_lines,
            "",
            *tables,
            LEGEND,
            *([far] if far else []),
            *shrinkage_lines(rows),
        )
        if outcome.curve is not None:
            print_parts("", curve_table(outcome.curve), outcome.curve.sentence())
    if outcome.ending == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.ending == "out of time":
        of_these = (
            "The verdicts are of the seeds that are complete."
            if rows
            else "There is no verdict: fewer than 2 seeds are complete."
        )
        say(
            f"No further training fits into the time budget of {time_budget}, earlier calls "
            f"included. {of_these} The same command with a longer one goes on."
        )
        if not rows:
            raise typer.Exit(EXIT_FAILURE)
    if outcome.failed:
        say(f"{outcome.failed} trainings failed (column reason); call again to repeat them.")
    say(f"Every run is in {run}/confirm.csv, the table in {run}/verdict.csv.")


def curve_table(curve: RatioCurve) -> Table:
    """The ratios with their intervals, which hold together."""
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in ("ratio", "n", "test acc (%)", "95 % together", "in the set"):
        table.add_column(name, justify="right")
    for point in curve.points:
        interval = "-"
        if point.low is not None and point.high is not None:
            interval = f"{100 * point.low:.2f} to {100 * point.high:.2f}"
        inside = "yes" if point.in_set else "no"
        table.add_row(point.ratio, str(point.n), f"{100 * point.mean:.2f}", interval, inside)
    return table
