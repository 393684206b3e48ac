"""How far the means of a table can be trusted: intraclass correlations.

```bash
python -m benchmarks.relu_bench.reliability
```
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench.specs import SPECS
from benchmarks.relu_bench.table import Table, load


@dataclass(frozen=True)
class Reliability:
    """One-way intraclass correlation, Shrout and Fleiss (1979).

    Attributes:
        single: ICC(1,1), of one training.
        mean: ICC(1,k), of the mean over k seeds.
    """

    single: float
    mean: float


def reliability(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Reliability:
    """ICC of rows (placements) of repeated measurements, within groups of rows.

    Args:
        values: (placements, k).
        groups: (placements,); the mean of each group is taken out first. All alike for the whole
            space; the kept ReLUs for "within each count". Groups of one row say nothing.
    """
    members = np.unique(groups, return_counts=True)
    kept = np.isin(groups, members[0][members[1] > 1])
    values, groups = values[kept], groups[kept]
    k = values.shape[1]
    means = values.mean(axis=1)
    between = within = 0.0
    for group in np.unique(groups):
        rows = groups == group
        between += k * ((means[rows] - means[rows].mean()) ** 2).sum()
    within = ((values - means[:, None]) ** 2).sum() / (len(values) * (k - 1))
    between /= len(values) - len(np.unique(groups))
    return Reliability(
        single=float((between - within) / (between + (k - 1) * within)),
        mean=float((between - within) / between),
    )


def report(table: Table) -> str:
    """A Markdown table: one row per metric."""
    whole, complete = np.zeros_like(table.relus), np.isfinite(table.seconds).all(axis=1)
    for metric in table.metrics:
        complete &= np.isfinite(table.final(metric)).all(axis=1)
    lines = [
        f"{table.spec.name}: {len(table.relus)} placements, {int(complete.sum())} of them with all "
        f"{table.spec.seeds} seeds",
        "",
        "| metric, after the last epoch | one training | mean | one training, within ReLU counts "
        "| mean, within ReLU counts |",
        "|---|---|---|---|---|",
    ]
    for metric in table.metrics:
        takes_log = metric.endswith("loss")
        values = np.log(table.final(metric)) if takes_log else table.final(metric)
        cells = [
            f"{getattr(reliability(values[complete], groups[complete]), kind):.2f}"
            for groups in (whole, table.relus)
            for kind in ("single", "mean")
        ]
        lines.append(f"| {'log ' * takes_log}{metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    for name in SPECS:
        print(report(load(name)), end="\n\n")


if __name__ == "__main__":
    main()
