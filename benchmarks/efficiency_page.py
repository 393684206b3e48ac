"""The tables and the plot of `benchmarks/search_efficiency.md`."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
_MARK = "<!-- generated below -->"


def write_page(outcomes: dict[Any, list[Any]], trials: int) -> None:
    """Write the tables behind the page's mark, and the plot beside it."""
    page = HERE / "search_efficiency.md"
    written = page.read_text().partition(_MARK)[0] if page.exists() else ""
    page.write_text(f"{written}{_MARK}\n\n{tables(outcomes, trials)}")
    plot(outcomes, trials, HERE / "search_efficiency.png")


def tables(outcomes: dict[Any, list[Any]], trials: int) -> str:
    """One Markdown table per (workers, early stopping)."""
    parts = []
    for workers, stopping in sorted({(c.workers, c.early_stopping) for c in outcomes}):
        cells = {
            c: found
            for c, found in outcomes.items()
            if (c.workers, c.early_stopping) == (workers, stopping)
        }
        replays = len(next(iter(cells.values())))
        title = f"{workers} worker{'s' * (workers > 1)}, {'with' if stopping else 'without'} ASHA"
        lines = [
            f"### {title}",
            "",
            f"{replays} replays of {trials} trials each; medians, quartiles in brackets.",
            "",
            "| strategy | trials to top 5 % | trials to top 1 % | epochs to top 1 % "
            "| reached top 1 % | regret after 25 | regret at the end |",
            "|---|---|---|---|---|---|---|",
        ]
        for cell, found in sorted(cells.items(), key=lambda item: _order(item[1])):
            share = sum(o.top1 is not None for o in found) / len(found)
            epochs = [o.epochs[o.top1 - 1] if o.top1 else np.inf for o in found]
            lines.append(
                f"| {cell.strategy} | {_until([o.top5 for o in found], trials)} "
                f"| {_until([o.top1 for o in found], trials)} "
                f"| {_until(epochs, None)} | {100 * share:.0f} % "
                f"| {_regret(found, min(25, trials))} | {_regret(found, trials)} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def plot(outcomes: dict[Any, list[Any]], trials: int, file: Path) -> None:
    """Median regret against trials, with the band of the quartiles; one panel per condition."""
    conditions = sorted({(c.workers, c.early_stopping) for c in outcomes})
    figure, axes = plt.subplots(
        len(conditions), 2, figsize=(11, 3.6 * len(conditions)), sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    for row, (workers, stopping) in zip(axes, conditions, strict=True):
        cells = [c for c in outcomes if (c.workers, c.early_stopping) == (workers, stopping)]
        cells.sort(key=lambda c: _order(outcomes[c]))
        panels = cells[: len(cells) // 2 + 1], cells[len(cells) // 2 + 1 :]
        for axis, shown in zip(row, panels, strict=True):
            for cell in shown:
                curves = np.array([o.regret for o in outcomes[cell]], dtype=float)
                low, middle, high = np.nanquantile(curves, (0.25, 0.5, 0.75), axis=0)
                x = np.arange(1, len(middle) + 1)
                (line,) = axis.plot(x, middle, label=cell.strategy, linewidth=1.6)
                axis.fill_between(x, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
            stops = "ASHA" if stopping else "no early stopping"
            axis.set_title(f"{workers} worker{'s' * (workers > 1)}, {stops}", fontsize=10)
            axis.set_yscale("log")
            axis.set_xlim(1, trials)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
        row[0].set_ylabel("regret, nats of test loss")
    for axis in axes[-1]:
        axis.set_xlabel("trials")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _order(found: list[Any]) -> tuple[float, float]:
    reached = median(o.top1 or np.inf for o in found)
    return float(reached), float(np.nanmedian([o.regret[-1] for o in found]))


def _until(counts: list[Any], limit: int | None) -> str:
    low, middle, high = np.quantile(
        [np.inf if c is None else c for c in counts], (0.25, 0.5, 0.75), method="nearest"
    )
    never = f"> {limit}" if limit else "-"
    low, middle, high = (never if np.isinf(x) else f"{x:.0f}" for x in (low, middle, high))
    return f"{middle} [{low}, {high}]"


def _regret(found: list[Any], trial: int) -> str:
    values = [o.regret[trial - 1] for o in found if o.regret[trial - 1] is not None]
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.4f} [{low:.4f}, {high:.4f}]"
