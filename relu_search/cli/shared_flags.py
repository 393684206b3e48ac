"""Options and help texts that several verbs share and that are no fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PLACEMENT_HELP = (
    "Bits in forward order, 1 = ReLU kept (`01*27`, `11*9+01*18`), or the name of a module: "
    "paired, linear, 2:1, 2:1/second, 3:2/type1, 4:3/type1, pyramidnet, eraserelu:0.5, ..."
)

BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="The backbone, named again, if it is code (FILE.py:FUNCTION or "
        "package.module:FUNCTION): the code that a run or a card names runs only then.",
        rich_help_panel="Network",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML file of options. Flags override it.", rich_help_panel="Run"
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON, and nothing else, on stdout.", rich_help_panel="Run"),
]
