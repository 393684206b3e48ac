"""The placement map: which ReLU sites each placement keeps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from relu_search.charts.placement_rows import MapRow
from relu_search.charts.series import BLUE, label
from relu_search.report.figure_style import BLACK, GREY, empty_figure, new_figure, styled
from relu_search.settings.metrics import cost_text
from search_spaces import Architecture


@styled
def placement_map(backbone: Architecture, groups: Sequence[Sequence[MapRow]]) -> Figure:
    """Kept and dropped sites along the depth: one row per placement, with space between groups.

    The sites of a block are drawn one above the other, the first at the top.
    """
    rows = [row for group in groups for row in group]
    if not rows:
        return empty_figure("No placement to draw yet.")
    cells = backbone.cells
    lanes = 1 + max(lane for _, lane in cells)
    blocks = sum(backbone.blocks_per_stage)
    pitch = lanes + (0.5 if lanes == 1 else 0.9)
    tops: list[float] = []
    for group in groups:
        start = tops[-1] + 1.5 * pitch if tops else 0.0
        tops += [start + i * pitch for i in range(len(group))]
    lane_height = {1: 0.17, 2: 0.13}.get(lanes, 0.105)
    figure = new_figure(1.25 + (tops[-1] + lanes) * lane_height)
    axes = figure.add_subplot()
    kept: list[Rectangle] = []
    dropped: list[Rectangle] = []
    for row, top in zip(rows, tops, strict=True):
        for keeps, (block, lane) in zip(row.placement, cells, strict=True):
            box = Rectangle((block + 0.6, top + lane + 0.06), 0.8, 0.88)
            (kept if keeps else dropped).append(box)
    outline = 0.7 if blocks <= 60 else 0.35
    axes.add_collection(PatchCollection(kept, facecolor=BLUE, edgecolor=BLUE, linewidth=outline))
    axes.add_collection(
        PatchCollection(dropped, facecolor="white", edgecolor=GREY, linewidth=outline)
    )
    bottom = tops[-1] + lanes
    axes.set(xlim=(0.4, blocks + 0.6), ylim=(bottom + 0.4, -0.4))
    axes.set_yticks([top + lanes / 2 for top in tops], [label(row.name, 24) for row in rows])
    for row, top in zip(rows, tops, strict=True):
        where = (1.01, top + lanes / 2)
        note = f"{row.value}, {cost_text('relus', row.placement.kept)}"
        axes.text(*where, note, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    _draw_stages(axes, backbone, at=-0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    single = lanes == 1
    axes.set_xlabel(
        "convolution, from input to output" if single else "block, from input to output"
    )
    handles = [
        Patch(facecolor=BLUE, edgecolor=BLUE, label="ReLU kept"),
        Patch(facecolor="white", edgecolor=GREY, label="ReLU dropped"),
    ]
    if lanes > 1:
        order = ", ".join(backbone.row_names)
        handles.append(Patch(alpha=0, label=f"in a row, top to bottom: {order}"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _draw_stages(axes: Axes, backbone: Architecture, *, at: float) -> None:
    """Draw the borders between stages, and their names above y = `at`, in data units."""
    start = 0
    for stage, count in enumerate(backbone.blocks_per_stage):
        if stage:
            axes.axvline(start + 0.5, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))
        where = (start + count / 2 + 0.5, at)
        axes.annotate(
            backbone.stage_title(stage).replace(", ", "\n"),
            where,
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
        start += count
