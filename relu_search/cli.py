"""The command line: thin verbs, each calls one function. Heavy libraries load inside the verbs."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relu_search.cli_export import bench, export
from relu_search.cli_judging import confirm, reproduce
from relu_search.console import live_view, print_json, print_parts, say, show_outcome
from relu_search.options import (
    FAMILIES_HELP,
    PLACEMENT_HELP,
    ActivationOption,
    BackboneOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DownloadOption,
    EpochsOption,
    ExchangeOption,
    JsonOption,
    MaxFailuresOption,
    NormOption,
    PrecisionOption,
    RecipeOption,
    SeedOption,
    TrainLimitOption,
    ValidationOption,
    WidthOption,
)
from search_spaces.errors import InputError
from trials.faults import RunStoppedError
from trials.files import StorageError

if TYPE_CHECKING:
    from relu_search.search import SearchOutcome

TRACEBACK_VARIABLE = "RELU_SEARCH_TRACEBACK"
EXIT_FAILURE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

# Typer does not export the base of its usage errors.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="relu-search",
    help="Which ReLUs should a CNN keep? Searches N:M conv-ReLU placements with Ray and Optuna.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command()
def search(
    backbone: BackboneOption = None,
    width: WidthOption = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    download: DownloadOption = None,
    train_limit: TrainLimitOption = None,
    validation_images: ValidationOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    trials: Annotated[
        int | None, typer.Option(help="Budget, hand-designed modules included. [default: 48]")
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            help="Unit of a decision: network, stage, block, site; or coarse-to-fine. "
            "[default: stage]"
        ),
    ] = None,
    min_relus: Annotated[
        str | None,
        typer.Option(help="Fewest ReLUs kept, or a share (20%); 0 admits all-linear. [default: 1]"),
    ] = None,
    max_relus: Annotated[
        str | None, typer.Option(help="Most ReLUs kept, or a share of the sites (60%).")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(help="N:M, compare only placements of exactly this ratio.")
    ] = None,
    norm: NormOption = None,
    search_norm: Annotated[
        bool | None, typer.Option("--search-norm", help="Let the search decide keep or drop.")
    ] = None,
    activation: ActivationOption = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="gp, tpe, local, greedy, evolution, reinforce, nsga2, random, "
            "grid (exhaustive). [default: gp]"
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="val_loss (repeats better) or val_accuracy. [default: val_loss]"),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Several at once: loss or accuracy, with any of relus, relu_elements, "
            "macs-after-fold, such as loss,relus."
        ),
    ] = None,
    grace_epochs: Annotated[
        int | None,
        typer.Option(help="No early stop before. [default: a third of the epochs, at most 20]"),
    ] = None,
    reduction_factor: Annotated[
        float | None, typer.Option(help="One trial in so many passes an ASHA rung. [default: 3]")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(help="Trials at once; 1 is repeatable to the bit. [default: all]")
    ] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="[default: 1]")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="Fractions allowed. [default: 0.25 if there is a GPU]")
    ] = None,
    max_failures: MaxFailuresOption = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, host:port or auto. [default: this machine]")
    ] = None,
    exchange: ExchangeOption = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna database URL. [default: a journal in the run folder]")
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option(
            help="Trials in lockstep as one network, in each worker; auto measures how many pay. "
            "[default: 1]"
        ),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compiled", help="Train with one compiled graph for all placements."),
    ] = None,
    captured: Annotated[
        bool | None,
        typer.Option("--captured", help="Replay training steps as CUDA graphs; on a GPU."),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(help="supernet: try first what one net trained for all ranks best."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. [default: runs/DATE-TIME]")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that was cut off.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.")
    ] = False,
    config: ConfigOption = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Ray's dashboard on 127.0.0.1:8265 (ray[default]).")
    ] = False,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages.")] = False,
) -> None:
    """Search placements: propose, train, stop the hopeless ones early, keep the best.

    Example: `relu-search search --data cifar10 --download --backbone preresnet-20 --trials 50`
    """
    given = _search_options(locals())
    shown = {"dashboard": dashboard, "verbose": verbose}
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints; stdout is for results
        if resume is None:
            outcome = _new_search(given, config, overwrite=overwrite, **shown)
        elif overwrite:
            raise InputError("--overwrite and --resume exclude each other; give one of them")
        else:
            outcome = _resumed_search(resume, given, config, **shown)
    show_outcome(outcome, as_json)
    if outcome.ending == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.best is None:
        raise typer.Exit(EXIT_FAILURE)


@app.command()
def train(
    placement: Annotated[str, typer.Option(help=PLACEMENT_HELP)] = "paired",
    backbone: BackboneOption = None,
    width: WidthOption = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    download: DownloadOption = None,
    train_limit: TrainLimitOption = None,
    validation_images: ValidationOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    norm: NormOption = None,
    activation: ActivationOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[
        str | None, typer.Option(help="New folder for card.json and model.safetensors.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one placement and validate it after every epoch. Does not need Ray.

    Example: `relu-search train --backbone plain-38 --placement 2:1 --out out/plain-38`
    """
    from relu_search.config import SearchConfig
    from relu_search.single import train_single

    search_config = SearchConfig.from_options(_search_options(locals()), config)
    row = train_single(search_config, placement, device=device, report=say)
    if as_json:
        print_json(row)
    if row["failure"]:
        raise RuntimeError(row["failure"])


@app.command()
def show(
    backbone: Annotated[str, typer.Argument(help=FAMILIES_HELP)],
    placement: Annotated[str, typer.Argument(help=PLACEMENT_HELP)] = "paired",
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    in_channels: Annotated[int, typer.Option(help="1 (grey) or 3 (colour).")] = 3,
    image_size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 32,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 16,
    norm: NormOption = None,
    activation: ActivationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a placement is and costs: ratio, parameters, MACs, ReLU elements, sites.

    Example: `relu-search show preresnet-110 2:1/first --num-classes 100`
    """
    from relu_search.describe import describe, description_table

    facts = describe(
        backbone,
        placement,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        width=width,
        norm=norm or "keep",
        activation=activation or "relu",
    )
    if as_json:
        print_json(facts)
    else:
        print_parts(description_table(facts))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Run folder of a search.")],
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write report.html and figures into RUN.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show the leaderboard of a finished or running search and write its report with figures.

    Example: `relu-search report runs/20260101-120000`
    """
    from relu_search.leaderboard import ranked, report_text, rows_of
    from relu_search.results import RunFolder

    folder = RunFolder.open(run)
    table, caveat = report_text(folder)
    written = None
    if not as_json:
        print_parts(table, caveat)
    if page:
        from relu_search.report import write_report

        written = str(write_report(folder))
        say(f"Report: {written}")
    if as_json:
        metric = folder.read_config()[0].metric
        rows = rows_of(ranked(folder.read_trials(), metric))
        print_json({"trials": rows, "note": caveat, "report": written})


app.command()(confirm)
app.command()(reproduce)
app.command()(export)
app.command()(bench)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    gc.set_threshold(50_000)  # importing torch and Ray makes objects that stay: no use to search
    atexit.register(gc.freeze)  # nor at the end, where it takes most of a second
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(arguments, prog_name="relu-search", standalone_mode=False)
    except _UsageError as error:
        message = error.format_message()
        code = _fail(f"{message} (see relu-search --help)" if message else "", EXIT_BAD_INPUT)
    except InputError as error:
        code = _fail(str(error), EXIT_BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", EXIT_INTERRUPTED)
    except (RunStoppedError, StorageError) as error:
        code = _fail(str(error), EXIT_FAILURE)
    except BrokenPipeError:
        code = EXIT_FAILURE
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        hint = f"set {TRACEBACK_VARIABLE}=1 to see where"
        code = _fail(f"{type(error).__name__}: {error} ({hint})", EXIT_FAILURE)
    sys.exit(code if isinstance(code, int) else 0)


def _search_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Those of a verb's parameters that are options of a search."""
    from relu_search.config import SearchConfig

    return {name: parameters.get(name) for name in SearchConfig.__annotations__}


def _new_search(given: dict[str, Any], file: Path | None, **options: bool) -> SearchOutcome:
    from relu_search.config import SearchConfig
    from relu_search.search import run_search

    config = SearchConfig.from_options(given, file)
    with live_view(config) as view:
        return run_search(config, listeners=(view,), **options)


def _resumed_search(
    run: str, given: dict[str, Any], file: Path | None, **options: bool
) -> SearchOutcome:
    from relu_search.config import SearchConfig
    from relu_search.results import RunFolder
    from relu_search.resuming import changed_config
    from relu_search.search import resume_search

    in_file = {} if file is None else SearchConfig.read_options(file)
    changes = in_file | {name: value for name, value in given.items() if value is not None}
    folder = RunFolder.open(run)
    with live_view(changed_config(folder, changes), earlier=folder.count_trials()) as view:
        return resume_search(run, listeners=(view,), **options, **changes)


def _fail(message: str, code: int) -> int:
    if message:
        one_line = " ".join(message.split())
        say(f"relu-search: {one_line}")
    return code


if __name__ == "__main__":
    main()
