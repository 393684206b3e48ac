"""The tables and the plot of `benchmarks/search_efficiency.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.pages import write_below_mark
from benchmarks.replay.judging import Outcome
from benchmarks.search.efficiency.outcomes import TRIALS, Cell, Outcomes, quartiles
from relu_search.settings.search_config import SearchConfig

HERE = Path(__file__).parents[2]
_COLUMNS = (
    *("strategy", "trials to top 5 %", "trials to top 1 %", "epochs to top 1 %"),
    *("reached top 1 % in 100", "regret after 25", "regret after 100", "of the luckiest run"),
)


def write_page(outcomes: Outcomes) -> None:
    """Write the tables behind the page's mark, and the plot beside it."""
    page = HERE / "search_efficiency.md"
    write_below_mark(page, tables(outcomes))
    plot(outcomes, HERE / "search_efficiency.png")


def tables(outcomes: Outcomes) -> str:
    """The answer in a sentence for each condition, then a Markdown table of each."""
    parts = ["\n".join(_headline(outcomes, *c) for c in _conditions(outcomes))]
    for workers, stopping in _conditions(outcomes):
        cells = _cells(outcomes, workers, stopping)
        title = f"{_workers(workers)}, {'with' if stopping else 'without'} ASHA"
        lines = [
            f"### {title}",
            "",
            f"{len(outcomes[cells[0]])} replays; medians, quartiles in brackets; regrets in nats "
            "of test loss.",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            "|---" * len(_COLUMNS) + "|",
            *(_row(cell, outcomes[cell]) for cell in cells),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _headline(outcomes: Outcomes, workers: int, stopping: bool) -> str:
    """How the default compares with random search: medians of trials to the top 1 %."""
    cells = {cell.strategy: cell for cell in _cells(outcomes, workers, stopping)}
    ours, random = (
        (cell, quartiles([o.top1 for o in outcomes[cell]])[1])
        for cell in (cells[SearchConfig().sampler], cells["random"])
    )
    texts = [f"more than {c.trials}" if np.isinf(m) else f"{m:.0f}" for c, m in (ours, random)]
    ratio = ours[1] / min(random[1], random[0].trials)
    bound = "at most " if np.isinf(random[1]) else ""
    share = "unknown" if np.isinf(ours[1]) else f"{bound}{ratio:.2g}"
    return (
        f"- {_workers(workers)}, {'with' if stopping else 'without'} ASHA: `{ours[0].strategy}`, "
        f"the default, needs {texts[0]} trials to the top 1 %, random search {texts[1]}; "
        f"ratio {share}."
    )


def _row(cell: Cell, found: Sequence[Outcome]) -> str:
    share = sum(o.top1 is not None and o.top1 <= TRIALS for o in found) / len(found)
    epochs = [o.epochs[o.top1 - 1] if o.top1 else None for o in found]
    texts = (
        cell.strategy,
        _until([o.top5 for o in found], cell.trials),
        _until([o.top1 for o in found], cell.trials),
        _until(epochs, None),
        f"{100 * share:.0f} %",
        _regret([o.regret[24] for o in found]),
        _regret([o.regret[TRIALS - 1] for o in found]),
        _regret([o.lucky_regret[TRIALS - 1] for o in found]),
    )
    return f"| {' | '.join(texts)} |"


def plot(outcomes: Outcomes, file: Path) -> None:
    """Median regret against trials, with the band of the quartiles; one panel per condition."""
    conditions = _conditions(outcomes)
    figure, axes = plt.subplots(
        len(conditions),
        2,
        figsize=(11, 3.6 * len(conditions)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, (workers, stopping) in zip(axes, conditions, strict=True):
        cells = [c for c in _cells(outcomes, workers, stopping) if not c.strategy.count(",")]
        panels = cells[: len(cells) // 2 + 1], cells[len(cells) // 2 + 1 :]
        for axis, shown in zip(row, panels, strict=True):
            for cell in shown:
                curves = np.array([o.regret[:TRIALS] for o in outcomes[cell]], dtype=float)
                first = int(np.isfinite(curves).any(axis=0).argmax())  # no incumbent before
                bands = np.nanquantile(curves[:, first:], (0.25, 0.5, 0.75), axis=0)
                x = np.arange(first + 1, TRIALS + 1)
                (line,) = axis.plot(x, bands[1], label=cell.strategy, linewidth=1.6)
                axis.fill_between(
                    x, bands[0], bands[2], color=line.get_color(), alpha=0.12, linewidth=0
                )
            stops = "ASHA" if stopping else "no early stopping"
            axis.set_title(f"{_workers(workers)}, {stops}", fontsize=10)
            axis.set_yscale("log")
            axis.set_xlim(1, TRIALS)
            axis.set_ylim(2e-3, 0.6)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
        row[0].set_ylabel("regret, nats of test loss")
    for axis in axes[-1]:
        axis.set_xlabel("trials")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _conditions(outcomes: Outcomes) -> list[tuple[int, bool]]:
    return sorted({(c.workers, c.early_stopping) for c in outcomes}, key=lambda c: (c[0], not c[1]))


def _cells(outcomes: Outcomes, workers: int, stopping: bool) -> list[Cell]:
    """The strategies of a condition, fastest first."""
    mine = [c for c in outcomes if (c.workers, c.early_stopping) == (workers, stopping)]

    def speed(cell: Cell) -> tuple[float, float]:
        found = outcomes[cell]
        at_end = np.array([o.regret[TRIALS - 1] for o in found], dtype=float)
        return quartiles([o.top1 for o in found])[1], float(np.nanmedian(at_end))

    return sorted(mine, key=speed)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _until(counts: Sequence[float | None], limit: int | None) -> str:
    never = f"> {limit}" if limit else "-"
    low, middle, high = (never if np.isinf(x) else f"{x:.0f}" for x in quartiles(counts))
    return f"{middle} [{low}, {high}]"


def _regret(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    return f"{middle:.4f} [{low:.4f}, {high:.4f}]"
