"""What a placement is and what it costs, for `relu-search show`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from search_spaces import (
    Backbone,
    DroppedNorm,
    InputError,
    check_activation,
    module_name_of,
    ratio_text,
    resolve_placement,
)
from search_spaces.backbones import STAGES

if TYPE_CHECKING:
    from rich.table import Table


def describe(
    backbone: str,
    placement: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    width: int = 16,
    norm: str = "keep",
    activation: str = "relu",
) -> dict[str, Any]:
    """All facts of a placement on a backbone, as plain values.

    `relus` counts the ReLUs kept in the blocks, the M side of the ratio; `relu_layers` and
    `relu_elements` count every ReLU that runs, stem and final ones included.

    Raises:
        InputError: unknown backbone or module, or a placement that does not fit.
    """
    if image_size > 4096:
        raise InputError(f"image size is {image_size}; it must be at most 4096 pixels")
    spec = Backbone.parse(backbone, width)
    resolved = resolve_placement(spec, placement, cast(DroppedNorm, norm))  # it checks the norm
    rectifier = check_activation(activation)

    from search_spaces import measure_complexity  # torch, only once the input is checked

    measure = partial(
        measure_complexity,
        spec,
        resolved,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=(image_size, image_size),
    )
    cost, with_relu = measure(activation=rectifier), measure()
    return {
        "backbone": spec.name,
        "family": spec.spec.title,
        "width": spec.width,
        "blocks_per_stage": list(spec.blocks_per_stage),
        "placement": resolved.text,
        "module": module_name_of(spec, resolved),
        "ratio": ratio_text(spec, resolved),
        "norm": resolved.dropped_norm,
        "activation": rectifier,
        "over_relu": {
            "params": cost.params - with_relu.params,
            "macs": cost.macs - with_relu.macs,
        },
        "convs": spec.convs,
        "relus": resolved.kept,
        "relu_layers": cost.relu_layers,
        "relu_elements": cost.relu_elements,
        "params": cost.params,
        "macs": cost.macs,
        "sites": [
            {
                "name": site.name,
                "stage": site.stage + 1,
                "block": site.block + 1,
                "kept": kept,
                "elements": elements,
            }
            for site, kept, elements in zip(spec.sites, resolved, cost.site_elements, strict=True)
        ],
    }


def description_table(facts: dict[str, Any]) -> Table:
    """The facts as a two-column table, sites drawn stage by stage."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("backbone", f"{facts['backbone']}, width {facts['width']}: {facts['family']}")
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
    for stage in range(1, STAGES + 1):
        marks: dict[int, str] = {}
        for site in facts["sites"]:
            if site["stage"] == stage:
                mark = "●" if site["kept"] else "○"
                marks[site["block"]] = marks.get(site["block"], "") + mark
        table.add_row(f"stage {stage}", " ".join(marks.values()))
    table.add_row("", "● ReLU kept, ○ dropped; one group per block")
    return table
