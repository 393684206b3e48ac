"""The verbs that read the test split: confirm and reproduce."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.options import (
    DataDirOption,
    DownloadOption,
    ExchangeOption,
    JsonOption,
    MaxFailuresOption,
    PrecisionOption,
    TrainLimitOption,
)
from search_spaces.errors import InputError
from trials.files.durable import StorageError
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources

if TYPE_CHECKING:
    from trials.training.recipe import Precision

INTERRUPTED = 130

ConcurrentOption = Annotated[
    int | None, typer.Option(help="Trainings at once. [default: as many as the resources allow]")
]
CpusOption = Annotated[float | None, typer.Option(help="Of one training. [default: 1]")]
GpusOption = Annotated[
    float | None, typer.Option(help="Fractions allowed. [default: 0.25 if there is a GPU]")
]
AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster, host:port or auto. [default: this machine]")
]
InProcessOption = Annotated[
    bool, typer.Option("--in-process", help="Without Ray, one after another.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages.")]


def confirm(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a search.")],
    top: Annotated[int, typer.Option(help="Best found placements to retrain.")] = 3,
    modules: Annotated[
        str | None,
        typer.Option(help="Comma-separated; paired is always there. [default: the search's]"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds for every arm; 6 or more.")] = 6,
    first_seed: Annotated[
        int | None, typer.Option(help="The first of them. [default: one above the search's]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: those of the search]")] = None,
    margin: Annotated[
        float, typer.Option(help="Percentage points within which arms count as equivalent.")
    ] = 0.3,
    no_racing: Annotated[
        bool, typer.Option("--no-racing", help="Train all arms, even those that cannot win.")
    ] = False,
    concurrent: ConcurrentOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    max_failures: MaxFailuresOption = None,
    address: AddressOption = None,
    exchange: ExchangeOption = None,
    in_process: InProcessOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Retrain the best placements and the hand-designed modules on fresh seeds; give verdicts.

    Reads the test split, once per model, when all training is done. Call it again to go on after
    an interruption, or with more --seeds to add some.

    Example: `relu-search confirm runs/20260101-120000 --top 3 --seeds 8`
    """
    from relu_search.confirmation.confirm import confirm as confirm_run
    from relu_search.confirmation.verdicts import shrinkage_lines, verdict_table
    from relu_search.run_folder.folder import RunFolder
    from relu_search.search.machines import Compute

    config = RunFolder.open(run).read_config()[0]
    compute = Compute(
        resources=_resources(
            config.resources,
            concurrent=concurrent,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            max_failures=max_failures,
        ),
        address=address or config.address,
        exchange=exchange or config.exchange,
        in_process=in_process,
        verbose=verbose,
    )
    going_on = f"Interrupted; go on with: relu-search confirm {run}, and the same options"
    with _interruptible(going_on):
        outcome = confirm_run(
            run,
            top=top,
            modules=None if modules is None else modules.split(","),
            seeds=seeds,
            first_seed=first_seed,
            epochs=epochs,
            margin=margin / 100,
            racing=not no_racing,
            compute=compute,
            report=say,
        )
    if as_json:
        print_json({"run": run, "ending": outcome.ending, "verdicts": outcome.verdicts})
    for versus in dict.fromkeys(row["versus"] for row in outcome.verdicts):
        if not as_json:
            print_parts(verdict_table(outcome.verdicts, versus), "")
    if outcome.ending == "interrupted":
        say(going_on)
        raise typer.Exit(INTERRUPTED)
    if not as_json:
        print_parts(*shrinkage_lines(outcome.verdicts))
    if outcome.failed:
        say(f"{outcome.failed} trainings failed (column reason); call again to repeat them.")
    say(f"Every run is in {run}/confirm.csv, the table in {run}/verdict.csv.")


def reproduce(
    study: Annotated[
        str,
        typer.Argument(help="table1, table2, table3, figure6, figure7, figure8 or claims."),
    ],
    data: Annotated[
        str | None, typer.Option(help="Another data set than the paper's. [default: the paper's]")
    ] = None,
    depths: Annotated[
        str | None, typer.Option(help="Comma-separated, such as 38,62. [default: the paper's]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each network.")] = 5,
    first_seed: Annotated[int, typer.Option(help="They count from here.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(help="[default: 400, the paper's; 60 with --data]")
    ] = None,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 16,
    train_limit: TrainLimitOption = None,
    data_dir: DataDirOption = None,
    download: DownloadOption = None,
    precision: PrecisionOption = None,
    out: Annotated[
        str | None,
        typer.Option(help="Folder; one with equal settings goes on. [default: under ./runs]"),
    ] = None,
    concurrent: ConcurrentOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    max_failures: MaxFailuresOption = None,
    address: AddressOption = None,
    exchange: ExchangeOption = None,
    in_process: InProcessOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run an experiment of the paper by its own protocol, and compare with what it published.

    Trains on all training images and reads the test split after every epoch, as the paper does.
    Scaled down by --depths, --epochs, --width and --train-limit it says how far it is from the
    paper's setting.

    Example: `relu-search reproduce table1 --data digits --width 8 --depths 38,62 --seeds 6`
    """
    from dataclasses import asdict

    from relu_search.reproduce.comparison import comparison_table, write_comparison
    from relu_search.reproduce.experiments import ReproduceSettings
    from relu_search.reproduce.run_experiment import reproduce as run_experiment
    from relu_search.search.machines import Compute

    settings = ReproduceSettings(
        experiment=study,
        data=data,
        depths=None if depths is None else _numbers("depths", depths),
        seeds=seeds,
        first_seed=first_seed,
        epochs=epochs,
        width=width,
        train_limit=train_limit,
        data_dir=data_dir,
        download=bool(download),
        precision=cast("Precision", precision or "fp32"),  # the recipe checks it
    )
    compute = Compute(
        resources=_resources(
            Resources(),
            concurrent=concurrent,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            max_failures=max_failures,
        ),
        address=address,
        exchange=exchange,
        in_process=in_process,
        verbose=verbose,
    )
    going_on = "Interrupted; the same command with the same --out goes on."
    with _interruptible(going_on):
        done = run_experiment(settings, out=out, compute=compute, report=say)
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
        say(going_on)
        raise typer.Exit(INTERRUPTED)


def _resources(otherwise: Resources, **given: float | None) -> Resources:
    """The resources given, and for those left out the others."""
    chosen: Any = {name: value for name, value in given.items() if value is not None}
    return replace(otherwise, **chosen)


@contextlib.contextmanager
def _interruptible(going_on: str) -> Iterator[None]:
    """Keep stdout for results, for Ray prints; on Ctrl-C or a fault say how to go on."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (RunStoppedError, StorageError) as error:
        raise RunStoppedError(f"{error}. What is finished is safe. {going_on}") from error
    except KeyboardInterrupt as error:
        say(going_on)
        raise typer.Exit(INTERRUPTED) from error


def _numbers(what: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(
            f"{what} is {text!r:.60}; write whole numbers with commas, such as 38,62"
        ) from error
