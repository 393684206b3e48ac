"""The verb `train`."""

from __future__ import annotations

from typing import Annotated

import typer

from relu_search.cli.console import print_json, say
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import PLACEMENT_HELP, ConfigOption, JsonOption
from relu_search.settings.search_options import RECIPE_OPTIONS, SearchOptions

OPTIONS = (
    *("backbone", "width", "backbone_args", "sites", "exclude", "norm", "activation"),
    *("data", "data_dir", "download", "train_limit", "validation_images"),
    *("image_size", "augment", "normalise"),
    *("recipe", "epochs", *RECIPE_OPTIONS, "precision", "seed", "deterministic"),
    *("weights", "new_head", "distill", "distill_temperature"),
)


@with_flags(flags(SearchOptions, *OPTIONS))
def train(
    given: Given,
    placement: Annotated[
        str,
        typer.Option(
            help=f"{PLACEMENT_HELP} [default: paired]",
            rich_help_panel="Network",
            show_default=False,
        ),
    ] = "paired",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu or cuda. [default: auto]",
            rich_help_panel="Training",
            show_default=False,
        ),
    ] = "auto",
    out: Annotated[
        str | None,
        typer.Option(
            help="New folder for card.json and model.safetensors. Without it nothing is written.",
            rich_help_panel="Run",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one placement without Ray, and validate it after every epoch.

    Example: `relu-search train --backbone plain-38 --placement 2:1 --out out/plain-38`
    """
    from relu_search.search.single_training import train_single
    from relu_search.settings.search_config import SearchConfig

    if out is not None:
        given["out"] = out
    search_config = SearchConfig.from_options(given, config)
    row = train_single(search_config, placement, device=device, report=say)
    if as_json:
        print_json(row)
    if row["failure"]:
        raise RuntimeError(row["failure"])
