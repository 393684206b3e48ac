"""The tables and the plot of `benchmarks/search_efficiency.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import mannwhitneyu, rankdata

from benchmarks.pages import write_below_mark
from benchmarks.replay.baselines import RULES
from benchmarks.replay.judging import quartiles
from benchmarks.search.efficiency.outcomes import AFTER, TRIALS, Outcome, Outcomes
from relu_search.settings.search_config import SearchConfig

HERE = Path(__file__).parents[2]
DEFAULT = SearchConfig().sampler
HAND_DESIGNED = "hand-designed"
BASELINES = (*RULES, "random", "local", "greedy")
"""Simple rules, random search and hill climbing. The other strategies have a model or more."""
SHOWN = (10, 25, 50, 100)
JUDGED = (25, 100)
_LEVEL = 0.05

Condition = tuple[int, bool]


def write_page(outcomes: Outcomes) -> None:
    """Write the tables behind the page's mark, and the plot beside it."""
    write_below_mark(HERE / "search_efficiency.md", tables(outcomes))
    plot(outcomes, HERE / "search_efficiency.png")


def tables(outcomes: Outcomes) -> str:
    """The default against each baseline, then all figures."""
    n = len(next(iter(outcomes.values())))
    parts = [
        f"### {DEFAULT} against the baselines\n\n{n} replays for each strategy. "
        f"{', '.join(BASELINES)} are the baselines. The first figure is the median regret of "
        f"`{DEFAULT}`, the second the lowest one of the baselines, with its name. *Lower* and "
        "*higher* are differences of a two-sided Mann-Whitney test at 5 %, `=` is none. The last "
        f"columns count the baselines for which the regret of `{DEFAULT}` is lower, not told "
        "apart, and higher.",
        against_baselines(outcomes),
        in_all(outcomes),
        f"### In the target\n\nShare of the replays whose leader is in the target *at* trial "
        f"{TRIALS}.",
        in_target(outcomes),
    ]
    for condition in _conditions(outcomes):
        for table in _tables(outcomes):
            parts.append(f"### {table}, {condition_text(condition)}")
            parts.append(_figures(outcomes, table, condition))
    return "\n\n".join(parts) + "\n"


def against_baselines(outcomes: Outcomes) -> str:
    head = ["table", "condition"]
    for count in JUDGED:
        head += [f"{DEFAULT}, {count} trials", "best baseline", "it is", "lower, =, higher"]
    lines = [_line(head), "|---" * len(head) + "|"]
    for table in _tables(outcomes):
        for condition in _conditions(outcomes):
            found = _by_strategy(outcomes, table, condition)
            row = [table, condition_text(condition)]
            for count in JUDGED:
                row += _judged(found, count)
            lines.append(_line(row))
    return "\n".join(lines)


def in_all(outcomes: Outcomes) -> str:
    """In how many conditions the default is better than each baseline."""
    lines = [
        _line(["baseline", *(f"lower, =, higher after {count} trials" for count in JUDGED)]),
        "|---" * (len(JUDGED) + 1) + "|",
    ]
    for name in BASELINES:
        texts = []
        for count in JUDGED:
            found = [
                compared(*([o.after(count) for o in by[one]] for one in (DEFAULT, name)))
                for table in _tables(outcomes)
                for condition in _conditions(outcomes)
                if name in (by := _by_strategy(outcomes, table, condition))
            ]
            texts.append(_tally(found))
        lines.append(_line([name, *texts]))
    return "Conditions (tables, workers, early stopping) in which it is so:\n\n" + "\n".join(lines)


def _tally(found: Sequence[str]) -> str:
    return ", ".join(str(found.count(text)) for text in ("lower", "=", "higher"))


def _judged(found: dict[str, Sequence[Outcome]], count: int) -> list[str]:
    """The default's median, the best baseline, their comparison, and those with all baselines."""
    values = {name: [o.after(count) for o in runs] for name, runs in found.items()}
    ours = values[DEFAULT]
    others = {name: values[name] for name in BASELINES if name in values}
    best = min(others, key=lambda name: (np.median(others[name]), np.mean(others[name])))
    return [
        f"{np.median(ours):.4f}",
        f"{np.median(others[best]):.4f} {best}",
        compared(ours, others[best]),
        _tally([compared(ours, theirs) for theirs in others.values()]),
    ]


def compared(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """`lower`, `=` or `higher`: our values against theirs, by a Mann-Whitney test."""
    if mannwhitneyu(ours, theirs).pvalue >= _LEVEL:
        return "="
    ranks = rankdata([*ours, *theirs])
    return "lower" if ranks[: len(ours)].mean() < ranks[len(ours) :].mean() else "higher"


def in_target(outcomes: Outcomes) -> str:
    conditions = _conditions(outcomes)
    lines = [
        _line(["table", "strategy", *map(condition_text, conditions)]),
        "|---" * (len(conditions) + 2) + "|",
    ]
    for table in _tables(outcomes):
        for name in _by_strategy(outcomes, table, conditions[0]):
            shares = [
                np.mean([o.is_in_target(TRIALS) for o in _by_strategy(outcomes, table, c)[name]])
                for c in conditions
            ]
            lines.append(_line([table, name, *(f"{100 * share:.0f} %" for share in shares)]))
    return "\n".join(lines)


def _figures(outcomes: Outcomes, table: str, condition: Condition) -> str:
    head = ["strategy", *(f"regret after {n}" for n in SHOWN), "epochs"]
    lines = [_line(head), "|---" * len(head) + "|"]
    found = _by_strategy(outcomes, table, condition)

    def at_end(name: str) -> tuple[float, float]:
        values = [o.after(TRIALS) for o in found[name]]
        return float(np.median(values)), float(np.mean(values))

    for name in sorted(found, key=at_end):
        cells = [_quartiles_text([o.after(count) for o in found[name]]) for count in SHOWN]
        epochs = np.mean([o.epochs for o in found[name]])
        lines.append(_line([name, *cells, f"{epochs:.0f}"]))
    return "\n".join(lines)


def plot(outcomes: Outcomes, file: Path) -> None:
    """Median regret against trials, with the quartiles of the default; one worker.

    A panel is as high as the medians after 10 trials; hand-designed modules may be above it.
    """
    every = _tables(outcomes)
    names = list(dict.fromkeys(c.strategy for c in outcomes if c.strategy != DEFAULT))
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    figure, axes = plt.subplots(
        len(every), 2, figsize=(11, 3.2 * len(every)), sharex=True, sharey="row", squeeze=False
    )
    for row, table in zip(axes, every, strict=True):
        for axis, stops in zip(row, (False, True), strict=True):
            highest = 0.0
            for name, runs in _by_strategy(outcomes, table, (1, stops)).items():
                curves = np.array([o.regrets for o in runs], dtype=float)
                middle = np.nanmedian(curves, axis=0)
                if name == DEFAULT:
                    axis.plot(AFTER, middle, label=name, color="black", linewidth=2.4)
                    low, high = np.nanquantile(curves, (0.25, 0.75), axis=0)
                    axis.fill_between(AFTER, low, high, color="black", alpha=0.12, linewidth=0)
                else:
                    style = "--" if name in RULES else "-"
                    axis.plot(AFTER, middle, style, label=name, color=colours[name], linewidth=1.2)
                if name != HAND_DESIGNED:
                    highest = max(highest, middle[AFTER.index(10) :].max())
            axis.set_title(f"{table}, {condition_text((1, stops))}", fontsize=10)
            axis.set_ylim(0, 1.1 * highest)
            axis.grid(alpha=0.3)
        row[0].set_ylabel("regret, nats of test loss")
    axes[-1][1].legend(fontsize=7, ncols=3)
    for axis in axes[-1]:
        axis.set_xlabel("trials")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _conditions(outcomes: Outcomes) -> list[Condition]:
    return sorted({(c.workers, c.early_stopping) for c in outcomes})


def _tables(outcomes: Outcomes) -> list[str]:
    return list(dict.fromkeys(c.table for c in outcomes))


def _by_strategy(
    outcomes: Outcomes, table: str, condition: Condition
) -> dict[str, Sequence[Outcome]]:
    return {
        c.strategy: runs
        for c, runs in outcomes.items()
        if c.table == table and (c.workers, c.early_stopping) == condition
    }


def condition_text(condition: Condition) -> str:
    workers, stops = condition
    count = "1 worker" if workers == 1 else f"{workers} workers"
    return f"{count}, {'early stopping' if stops else 'all to the end'}"


def _quartiles_text(values: Sequence[float]) -> str:
    texts = ["none" if np.isinf(x) else f"{x:.4f}" for x in quartiles(values)]
    return f"{texts[1]} [{texts[0]}, {texts[2]}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
