"""Our runs and the paper's side by side: `comparison.csv`, figures, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.reproduce.agreement import (
    ComparisonRow,
    Difference,
    Sample,
    compare_with_paper,
    distance_lines,
    order_lines,
    short_name,
)
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.run_experiment import CURVES, RUNS, Reproduction
from relu_search.reproduce.single_relus import Influence, influence_lines, influences
from relu_search.run_folder.tables import read_table, write_table
from trials.files.durable import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

COMPARISON = "comparison.csv"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Our runs compared with the paper.

    Attributes:
        title: of the experiment.
        rows: one per network and module.
        influences: of single ReLUs, for the experiment of Section V-C.
        lines: lines to print: order of the modules, influence, diverged runs, and in which
            settings the reproduction differs from the paper.
        figures: paths of the figures.
    """

    title: str
    rows: list[ComparisonRow]
    influences: list[Influence]
    lines: list[str]
    figures: list[Path]


def write_comparison(settings: ReproduceSettings, done: Reproduction) -> Comparison:
    """Compare the runs of a folder with the paper; write `comparison.csv` and the figures to it.

    Raises:
        InputError: the tables are damaged.
    """
    from relu_search.reproduce.figures import curves, differences, single_relus

    folder = done.folder
    runs, epochs = read_table(folder / RUNS), read_table(folder / CURVES)
    rows = compare_with_paper(settings, runs)
    found = influences(settings, runs)
    write_table(folder / COMPARISON, map(_comparison_row, rows))
    figures: dict[str, Figure] = {}
    if not epochs.empty:
        figures["curves"] = curves(settings, epochs)
    if any(row.our_difference for row in rows):
        figures["differences"] = differences(rows)
    if found:
        figures["single-relus"] = single_relus(found)
    lines = [*order_lines(settings, runs), *influence_lines(found)]
    for state, what in (("DIVERGED", "diverged, scored at chance level"), ("FAIL", "failed")):
        count = int((runs["state"] == state).sum())
        if count:
            lines.append(f"{count} runs {what}: see the column reason of {RUNS}")
    return Comparison(
        title=settings.definition.title,
        rows=rows,
        influences=found,
        lines=[*lines, *distance_lines(settings, done.num_classes)],
        figures=[path for name, figure in figures.items() for path in _save(figure, folder, name)],
    )


def comparison_table(comparison: Comparison) -> Table:
    """A table to print: our mean and std, the published ones, and both differences."""
    from rich.table import Table

    table = Table(
        title=comparison.title, title_justify="left", header_style="bold", box=None, pad_edge=False
    )
    for name in (
        "network",
        "module",
        "n",
        "ours",
        "published",
        "difference",
        "published difference",
        "sign",
    ):
        table.add_column(
            name, justify="left" if name in ("network", "module", "sign") else "right", no_wrap=True
        )
    for row in comparison.rows:
        table.add_row(
            f"{row.backbone}, {short_name(row.data)}",
            row.module,
            str(row.ours.n),
            _sample(row.ours),
            _sample(row.published),
            _difference(row.our_difference),
            _difference(row.published_difference),
            row.sign,
        )
    return table


def _sample(sample: Sample | None) -> str:
    return "-" if sample is None else f"{sample.mean:.2f} ± {sample.std:.2f}"


def _difference(found: Difference | None) -> str:
    return "" if found is None else f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _comparison_row(row: ComparisonRow) -> dict[str, Any]:
    ours, theirs = row.our_difference, row.published_difference
    return {
        "data": row.data,
        "backbone": row.backbone,
        "module": row.module,
        "n": row.ours.n,
        "mean": row.ours.mean,
        "std": row.ours.std,
        "published_mean": row.published.mean if row.published else None,
        "published_std": row.published.std if row.published else None,
        "difference": ours.value if ours else None,
        "low": ours.low if ours else None,
        "high": ours.high if ours else None,
        "published_difference": theirs.value if theirs else None,
        "published_low": theirs.low if theirs else None,
        "published_high": theirs.high if theirs else None,
        "sign": row.sign,
    }


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    from relu_search.report.figure_style import rendered

    paths = []
    for form in ("png", "pdf"):
        path = folder / f"{name}.{form}"
        write_whole(path, rendered(figure, form))
        paths.append(path)
    return paths
