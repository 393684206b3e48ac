"""How well does one short training predict the quality of a placement? Printed for the datasheet.

```bash
python -m benchmarks.relu_bench.fidelity
```
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from benchmarks.relu_bench.table import Table, load

SIGNALS = {
    "val_loss": {"val_loss": 1},
    "val_accuracy": {"val_accuracy": -1},
    "train_loss": {"train_loss": 1},
    "val_loss and val_accuracy": {"val_loss": 1, "val_accuracy": -1},
    "val_loss and train_loss": {"val_loss": 1, "train_loss": 1},
}
"""What a search could climb: one metric, or a mean of ranks; 1 where less is better."""


def main() -> None:
    for name in ("plain-12", "preresnet-8"):
        print(report(load(name)), end="\n\n")


def report(table: Table) -> str:
    """A Markdown table: rank correlation of one run's signal with the truth, by epoch."""
    epochs = range(1, table.spec.recipe.epochs + 1)
    lines = [
        f"{table.spec.name}: Spearman correlation over all placements of one training's signal "
        f"with the mean test loss / test accuracy over the other seeds; mean of {table.spec.seeds} "
        "seeds.",
        "",
        f"| signal | {' | '.join(f'after epoch {e}' for e in epochs)} |",
        "|---" * (len(epochs) + 1) + "|",
    ]
    for name, parts in SIGNALS.items():
        cells = [" / ".join(f"{rho:.2f}" for rho in _fidelity(table, parts, e)) for e in epochs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _fidelity(table: Table, parts: dict[str, int], epoch: int) -> tuple[float, float]:
    found = []
    for seed in range(table.spec.seeds):
        others = [s for s in range(table.spec.seeds) if s != seed]
        signal = sum(
            (rankdata(sign * table.metrics[m][:, seed, epoch - 1]) for m, sign in parts.items()),
            start=np.zeros(len(table.relus)),
        )
        found.append(
            [
                _rho(signal, np.nanmean(table.final("test_loss")[:, others], axis=1)),
                _rho(signal, -np.nanmean(table.final("test_accuracy")[:, others], axis=1)),
            ]
        )
    loss, accuracy = np.mean(found, axis=0).tolist()
    return loss, accuracy


def _rho(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(spearmanr(a, b).statistic)


if __name__ == "__main__":
    main()
