"""Options of the command line that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

FAMILIES_HELP = (
    "plain-D, preplain-D, resnet-D, preresnet-D, preresnet-bottleneck-D, dfn-D (dfn-110 counts "
    "both branches: its actual depth is 56)"
)
PLACEMENT_HELP = (
    "bits in forward order, 1 = kept (01*27, 11*9+01*18), or a module: paired, linear, 2:1, "
    "2:1/second, 3:2/type1, 4:3/type1, pyramidnet, "
    "eraserelu:0.5, ..."
)

BackboneOption = Annotated[str | None, typer.Option("--backbone", help=FAMILIES_HELP)]
WidthOption = Annotated[
    int | None, typer.Option(help="Channels of the first stage. [default: 16; 8 on digits]")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="digits, cifar10, cifar100, svhn, fashion-mnist, parquet:DIR, folder:DIR. "
        "[default: digits]"
    ),
]
DataDirOption = Annotated[
    str | None,
    typer.Option(help="Where torchvision's sets lie. [default: $RELU_SEARCH_DATA or ./data]"),
]
DownloadOption = Annotated[bool | None, typer.Option("--download", help="Fetch missing data.")]
TrainLimitOption = Annotated[
    int | None, typer.Option(help="Train on so many images only, a stratified draw.")
]
ValidationOption = Annotated[
    int | None,
    typer.Option(help="Validation images. [default: a fifth of the training set, at most 5000]"),
]
RecipeOption = Annotated[str | None, typer.Option(help="short or paper. [default: short]")]
EpochsOption = Annotated[int | None, typer.Option(help="[default: 5, or 400 with paper]")]
PrecisionOption = Annotated[
    str | None, typer.Option(help="fp32, or bf16 autocast on CUDA. [default: fp32]")
]
SeedOption = Annotated[int | None, typer.Option(help="[default: 0]")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file of options; the command line wins.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON alone on stdout, for machines.")]

NormOption = Annotated[
    str | None,
    typer.Option(
        help="keep or drop the BatchNorm directly before a dropped ReLU; drop makes conv-conv one "
        "linear map. [default: keep]"
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(
        help="At the kept sites: relu, leaky_relu, prelu, rrelu, elu, crelu (doubles channels). "
        "[default: relu]"
    ),
]
ExchangeOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or fsspec URL (s3://...) for weights and checkpoints on their way, where the "
        "nodes do not see the run folder. [default: they see it]"
    ),
]
MaxFailuresOption = Annotated[
    int | None,
    typer.Option(
        help="How often a trial whose worker or node died goes on from its last epoch. [default: 2]"
    ),
]


def search_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Those of a verb's parameters that are options of a search."""
    from dataclasses import fields

    from relu_search.settings.search_config import SearchConfig

    return {one.name: parameters.get(one.name) for one in fields(SearchConfig)}
