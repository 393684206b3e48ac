"""Figures of a reproduction: test accuracy by epoch, differences, influence of single ReLUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.charts.series import BLUE, VERMILLION, module_styles
from relu_search.report.figure_style import BLACK, GREY, styled
from relu_search.reproduce.agreement import ComparisonRow, short_name
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.single_relus import Influence

if TYPE_CHECKING:
    import pandas as pd

_PANEL_WIDTH, _PANEL_HEIGHT = 3.6, 3.0  # inches
_POSITIONS = (("o", BLACK), ("s", BLUE), ("D", VERMILLION), ("^", GREY))


@styled
def curves(settings: ReproduceSettings, runs: pd.DataFrame) -> Figure:
    """Test accuracy against epoch: one panel per network, the mean over seeds and a band.

    Args:
        runs: `curves.csv`: data, backbone, module, seed, epoch, test_accuracy in 0 to 1.
    """
    networks = settings.networks
    columns = min(3, len(networks))
    lines = -(-len(networks) // columns)
    figure = Figure(
        figsize=(_PANEL_WIDTH * columns, _PANEL_HEIGHT * lines + 0.3), layout="constrained"
    )
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    styles = module_styles(settings.definition.modules)
    for axes, (data, backbone) in zip(panels, networks, strict=False):
        chosen = runs[(runs["data"] == data) & (runs["backbone"] == backbone.name)]
        for module in settings.definition.modules:
            of_module = chosen[chosen["module"] == module]
            if of_module.empty:
                continue
            grouped = of_module.groupby("epoch")["test_accuracy"]
            mean, std = 100 * grouped.mean(), 100 * grouped.std(ddof=1).fillna(0)
            style = styles[module]
            seeds = of_module["seed"].nunique()
            axes.plot(
                mean.index,
                mean,
                color=style.color,
                linestyle=style.line,
                marker=style.marker,
                markevery=max(1, len(mean) // 8),
                label=f"{module} (n = {seeds})",
            )
            axes.fill_between(
                mean.index, mean - std, mean + std, color=style.color, alpha=0.15, linewidth=0
            )
        axes.set_title(f"{backbone.name}, {short_name(data)}")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("test accuracy (%)")
        if axes.lines:
            axes.legend(loc="lower right")
    for axes in panels[len(networks) :]:
        axes.set_axis_off()
    figure.suptitle("Mean over seeds; band: one standard deviation", fontsize=8, color=GREY)
    return figure


@styled
def differences(rows: Sequence[ComparisonRow]) -> Figure:
    """Difference from the reference, ours and published, with Welch's 95 % intervals."""
    shown = [row for row in rows if row.our_difference is not None]
    figure = Figure(figsize=(7.2, 0.9 + 0.55 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(shown):
        for offset, difference, marker, color in (
            (0.12, row.our_difference, "o", VERMILLION),
            (-0.12, row.published_difference, "s", BLUE),
        ):
            if difference is None:
                continue
            axes.errorbar(
                difference.value,
                -place + offset,
                xerr=[[difference.value - difference.low], [difference.high - difference.value]],
                marker=marker,
                color=color,
                markerfacecolor=color if marker == "o" else "white",
                capsize=3,
                label="this run" if marker == "o" else "published",
            )
    axes.axvline(0, color=BLACK, linewidth=0.8)
    names = [f"{row.backbone}, {row.module}\n{short_name(row.data)}" for row in shown]
    axes.set_yticks([-i for i in range(len(shown))], names)
    axes.set_ylim(-len(shown) + 0.4, 0.6)
    axes.set_xlabel("difference from paired, percentage points of test accuracy (95 % interval)")
    axes.grid(visible=False, axis="y")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper right", ncols=2)
    return figure


@styled
def single_relus(found: Sequence[Influence]) -> Figure:
    """Change of test accuracy when one ReLU is dropped, by block; one panel per network."""
    names = list(dict.fromkeys(item.backbone for item in found))
    figure = Figure(
        figsize=(max(4.2, _PANEL_WIDTH * len(names)), _PANEL_HEIGHT), layout="constrained"
    )
    panels = figure.subplots(1, max(1, len(names)), squeeze=False, sharey=True)[0]
    for axes, name in zip(panels, names, strict=False):
        items = [item for item in found if item.backbone == name]
        for position in sorted({item.position for item in items}):
            marker, color = _POSITIONS[(position - 1) % len(_POSITIONS)]
            _points(axes, [i for i in items if i.position == position], marker, color)
        axes.axhline(0, color=BLACK, linewidth=0.8)
        axes.set_title(f"{name} (n = {items[0].n} seeds)")
        axes.set_xlabel("block")
        axes.set_xticks(sorted({item.block for item in items}))
        axes.margins(x=0.08)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    panels[0].set_ylabel("test accuracy minus paired\n(points, 95 % interval)")
    return figure


def _points(axes: Axes, items: Sequence[Influence], marker: str, color: str) -> None:
    shift = 0.15 * (items[0].position - 2)
    axes.errorbar(
        [item.block + shift for item in items],
        [item.difference for item in items],
        yerr=[
            [item.difference - item.low for item in items],
            [item.high - item.difference for item in items],
        ],
        marker=marker,
        color=color,
        linestyle="none",
        capsize=2,
        label=f"ReLU {items[0].position} of the block dropped",
    )
