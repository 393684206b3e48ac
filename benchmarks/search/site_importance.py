"""Which ReLU matters on ReLU-Bench: exact Shapley values beside what a search estimates.

```bash
python -m benchmarks.search.site_importance   # writes benchmarks/site_importance.md and .png
```
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import load
from benchmarks.replay.replays import seed_order
from benchmarks.replay.simulator import Replay
from relu_search.analysis.site_effects import importance_of, shapley
from relu_search.settings.metrics import METRICS

PAGE = Path(__file__).parents[1] / "site_importance.md"
_SEARCHES = 50


def main() -> None:
    table = load()
    losses = table.final("test_loss")
    backbone = table.spec.space.backbone
    bits = [placement.bits for placement in table.spec.placements]
    rng = np.random.default_rng(0)
    seeds = rng.integers(table.spec.seeds, size=(200, table.spec.seeds))
    exact = shapley(losses.mean(axis=1))
    low, high = np.quantile([shapley(losses[:, s].mean(axis=1)) for s in seeds], (0.025, 0.975), 0)
    whole = importance_of(bits, losses.mean(axis=1), METRICS["val_loss"], backbone)
    found = [_searched(seed) for seed in range(_SEARCHES)]
    lines = [
        "| site | stage | Shapley, nats [95 % over seeds] | PED-ANOVA | fANOVA |",
        "|---|---|---|---|---|",
    ]
    for site in backbone.sites:
        i = site.index
        lines.append(
            f"| {i + 1} | {site.stage + 1} | {exact[i]:+.4f} [{low[i]:+.4f}, {high[i]:+.4f}] "
            f"| {100 * whole['ped_anova'][i]:.1f} % | {100 * whole['fanova'][i]:.1f} % |"
        )
    lines += [
        "",
        f"Spearman correlation with the size of the Shapley value: {_SEARCHES} searches of 100 "
        "trials (`gp`, ASHA), their full-length trials; median [quartiles].",
        "",
        "| estimate of a search | correlation |",
        "|---|---|",
    ]
    for name in ("ped_anova", "fanova"):
        values = [spearmanr(shares[name], np.abs(exact)).statistic for shares in found]
        a, b, c = np.nanquantile(values, (0.25, 0.5, 0.75))
        lines.append(f"| {name} | {b:.2f} [{a:.2f}, {c:.2f}] |")
    write_below_mark(PAGE, "\n".join(lines) + "\n")
    _draw(exact, low, high)


def _searched(seed: int) -> dict[str, NDArray[np.float64]]:
    """Importances as the report of one search would show them."""
    table = load()
    order = seed_order(table, seed)
    ended = Replay(table=table, sampler="gp", trials=100, seeds=order, seed=seed).run()
    whole = [t for t in ended if t.epochs == table.spec.recipe.epochs and not t.failed]
    bits = [table.spec.placements[t.row].bits for t in whole]
    losses = np.array([table.final("val_loss")[t.row, t.seed] for t in whole])
    return importance_of(bits, losses, METRICS["val_loss"], table.spec.space.backbone)


def _draw(exact: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    figure, axis = plt.subplots(figsize=(7, 3.2))
    x = np.arange(1, len(exact) + 1)
    axis.bar(x, exact, color="#0072B2")
    axis.errorbar(x, exact, [exact - low, high - exact], fmt="none", color="black", linewidth=1)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xlabel="ReLU site, from input to output", ylabel="Shapley value (nats)", xticks=x)
    axis.set_title("plain-12: what keeping a ReLU adds to the test loss", fontsize=10)
    figure.tight_layout()
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
