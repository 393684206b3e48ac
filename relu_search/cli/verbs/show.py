"""The verb `show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import PLACEMENT_HELP, JsonOption
from relu_search.settings.option_fields import options_of
from relu_search.settings.search_options import SearchOptions

_SHOWN = 4
"""Names in one line, at most."""
BACKBONE_HELP = options_of(SearchOptions)["backbone"].help

if TYPE_CHECKING:
    from rich.table import Table


@with_flags(flags(SearchOptions, "norm", "activation", "backbone_args", "sites", "exclude"))
def show(
    given: Given,
    backbone: Annotated[str, typer.Argument(help=BACKBONE_HELP)],
    placement: Annotated[str, typer.Argument(help=PLACEMENT_HELP)] = "paired",
    num_classes: Annotated[
        int, typer.Option(help="Number of classes.", rich_help_panel="Network")
    ] = 10,
    in_channels: Annotated[
        int,
        typer.Option(
            help="Channels of an image: 1 (grey) or 3 (colour).", rich_help_panel="Network"
        ),
    ] = 3,
    image_size: Annotated[
        int, typer.Option(help="Height and width of an image in pixels.", rich_help_panel="Network")
    ] = 32,
    width: Annotated[
        int | None,
        typer.Option(
            help="Channels of the first stage. [default: 16]",
            rich_help_panel="Network",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a placement and its costs: ratio, parameters, MACs, ReLU elements, sites.

    Example: `relu-search show preresnet-110 2:1/first --num-classes 100`
    """
    from relu_search.analysis.placement_facts import describe

    facts = describe(
        backbone,
        placement,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        width=width,
        norm=given.get("norm", "keep"),
        activation=given.get("activation", "relu"),
        **{name: given.get(name) for name in ("backbone_args", "sites", "exclude")},
    )
    if facts["note"]:
        say(f"note: {facts['note']}")
    if as_json:
        print_json(facts)
    else:
        print_parts(description_table(facts))


def description_table(facts: dict[str, Any]) -> Table:
    """The facts as a two-column table, sites drawn stage by stage."""
    from rich.table import Table

    from search_spaces.drawing import KEY

    table = Table.grid(padding=(0, 2))
    table.add_row("backbone", f"{facts['label']}: {facts['family']}")
    module = f" ({facts['module']})" if facts["module"] else ""
    table.add_row("placement", facts["placement"] + module)
    table.add_row("ratio", f"{facts['ratio']} ({facts['convs']} convs : {facts['relus']} ReLUs)")
    if facts["norm"] == "drop":
        table.add_row("norm", "the BatchNorm directly before a dropped ReLU is dropped with it")
    if facts["activation"] != "relu":
        extra = facts["over_relu"]
        table.add_row(
            "activation",
            f"{facts['activation']} at the kept sites: {extra['params']:+,} params and "
            f"{extra['macs']:+,} MACs against relu",
        )
    table.add_row("params", f"{facts['params']:,}")
    table.add_row("MACs", f"{facts['macs']:,} per image")
    table.add_row(
        "ReLUs run",
        f"{facts['relu_layers']} layers, {facts['relu_elements']:,} elements per image "
        "(stem and final included)",
    )
    for stage, bar in enumerate(facts["drawing"], start=1):
        table.add_row(f"stage {stage}", bar)
    table.add_row("", KEY)
    for name, text in _lines_about_function(facts) if "left_out" in facts else ():
        table.add_row(name, text)
    return table


def _lines_about_function(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is a site of the network of a function, and what is not."""
    yield "ratio rule", facts["ratio_rule"]
    if not facts["has_blocks"]:
        yield "blocks", "none repeats in this network; two consecutive sites count as one"
    reasons: dict[str, list[str]] = {}
    for entry in facts["left_out"]:
        reasons.setdefault(entry["reason"], []).append(entry["name"])
    if facts["not_called"]:
        reasons["never called"] = facts["not_called"]
    for reason, names in reasons.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield "no site", f"{', '.join(names[:_SHOWN])}{more}: {reason}"
    yield "proved", "every ReLU kept equals the original to the bit; single ReLUs dropped as well"
