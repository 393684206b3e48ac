"""The verb `train`."""

from __future__ import annotations

from typing import Annotated

import typer

from relu_search.cli.console import print_json, say
from relu_search.cli.options import (
    PLACEMENT_HELP,
    ActivationOption,
    BackboneOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DownloadOption,
    EpochsOption,
    JsonOption,
    NormOption,
    PrecisionOption,
    RecipeOption,
    SeedOption,
    TrainLimitOption,
    ValidationOption,
    WidthOption,
    search_options,
)


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
    from relu_search.search.single_training import train_single
    from relu_search.settings.search_config import SearchConfig

    search_config = SearchConfig.from_options(search_options(locals()), config)
    row = train_single(search_config, placement, device=device, report=say)
    if as_json:
        print_json(row)
    if row["failure"]:
        raise RuntimeError(row["failure"])
