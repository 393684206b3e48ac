"""The verb `search`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relu_search.cli.console import EXIT_FAILURE, EXIT_INTERRUPTED, live_view, show_outcome
from relu_search.cli.options import (
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
    search_options,
)
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from relu_search.search.run_search import SearchOutcome


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
    given = search_options(locals())
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


def _new_search(given: dict[str, Any], file: Path | None, **options: bool) -> SearchOutcome:
    from relu_search.search.run_search import run_search
    from relu_search.settings.search_config import SearchConfig

    config = SearchConfig.from_options(given, file)
    with live_view(config.resolve()) as view:
        return run_search(config, listeners=(view,), **options)


def _resumed_search(
    run: str, given: dict[str, Any], file: Path | None, **options: bool
) -> SearchOutcome:
    from relu_search.run_folder.folder import RunFolder
    from relu_search.search.resuming import changed_config
    from relu_search.search.run_search import resume_search
    from relu_search.settings.search_config import SearchConfig

    in_file = {} if file is None else SearchConfig.read_options(file)
    changes = in_file | {name: value for name, value in given.items() if value is not None}
    folder = RunFolder.open(run)
    with live_view(changed_config(folder, changes), earlier=folder.count_trials()) as view:
        return resume_search(run, listeners=(view,), **options, **changes)
