"""Several searches side by side: options, leaderboards, common placements, regret, fronts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from relu_search.analysis.estimates import estimate_text, estimates, full_length
from relu_search.analysis.leaderboard import admitted, ranked, rows_of
from relu_search.analysis.pareto import pareto_front
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.run_folder.folder import RunFolder
from relu_search.settings.metrics import Metric
from search_spaces import InputError

MOST_RUNS = 8
FOUND_SHOWN = 5
"""Found placements of each run in the common leaderboard."""
_NOT_COMPARED = ("out", "report", "storage")
"""Options that say nothing about the search."""


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A placement in the common leaderboard.

    Attributes:
        name: of the module, or the placement.
        cells: estimate and number of full-length seeds in each run; `-` where it has none.
    """

    name: str
    cells: list[str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two runs on the placements that both have trained to full length.

    Attributes:
        run, base: names of the runs.
        placements: number of common placements.
        mean: of the differences of their mean metrics, above 0 where `run` is better.
        low, high: 95 % t interval of this mean over placements; None with fewer than two.
    """

    run: str
    base: str
    placements: int
    mean: float
    low: float | None
    high: float | None

    def text(self, metric: Metric) -> str:
        unit = metric.difference_unit

        def number(value: float) -> str:
            return f"{value * metric.factor:+.{metric.decimals}f}"

        common = f"{self.placements} common placement{'s'[: self.placements != 1]}"
        line = f"{self.run} against {self.base} on {common}: {number(self.mean)} {unit}"
        if self.low is None or self.high is None:
            return f"{line} (above 0: better), with no interval."
        told = "" if self.low <= 0 <= self.high else ", told apart"
        return f"{line} (above 0: better; 95 % {number(self.low)} to {number(self.high)}{told})."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What several runs say together.

    Attributes:
        metric: that all are compared by, the one that the first run optimises.
        runs: their names.
        options: name and the value in each run, of the options that differ.
        board: the common leaderboard.
        differences: of each later run from each earlier one.
        regrets: run -> one row per full-length trial: `trials` and `hours` until its end, and
            `regret`: how far the estimate of the placement that led then is behind the best one.
        fronts: run -> one row per placement on the Pareto front: `share` of the ReLUs kept in
            percent, and `estimate`.
        notes: what limits the comparison.
    """

    metric: Metric
    runs: list[str]
    options: list[tuple[str, list[str]]]
    board: list[BoardRow]
    differences: list[Difference]
    regrets: dict[str, pd.DataFrame]
    fronts: dict[str, pd.DataFrame]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "metric": self.metric.name,
            "runs": self.runs,
            "options": {name: dict(zip(self.runs, v, strict=True)) for name, v in self.options},
            "leaderboard": [asdict(row) for row in self.board],
            "differences": [asdict(one) for one in self.differences],
            "regret": {run: rows_of(table) for run, table in self.regrets.items()},
            "fronts": {run: rows_of(table) for run, table in self.fronts.items()},
            "notes": self.notes,
        }


def compare(folders: Sequence[str]) -> Comparison:
    """Compare the searches of some run folders.

    Raises:
        InputError: fewer than two folders or more than `MOST_RUNS`, or one that has no full-length
            trial or is damaged.
    """
    if not 2 <= len(folders) <= MOST_RUNS:
        raise InputError(
            f"{len(folders)} run{'s'[: len(folders) != 1]} given; compare 2 to {MOST_RUNS}"
        )
    tables = [RunSnapshot.read(RunFolder.open(folder)) for folder in folders]
    metric = tables[0].config.optimised
    for one in tables:
        if full_length(one.trials, metric).empty:
            raise InputError(f"{one.run.path} has no full-length trial yet; let it run longer")
    runs = _names([one.run for one in tables])
    known = [estimates(one.trials, metric) for one in tables]
    best = [_best_estimate(one, k, metric) for one, k in zip(tables, known, strict=True)]
    return Comparison(
        metric=metric,
        runs=runs,
        options=_options(tables),
        board=_board(tables, known, metric),
        differences=[
            _difference(runs, tables, i, j, metric) for i in range(len(runs)) for j in range(i)
        ],
        regrets={
            run: _regret(one, k, _reference(tables, best, i, metric), metric)
            for i, (run, one, k) in enumerate(zip(runs, tables, known, strict=True))
        },
        fronts={
            run: _front(one, k, metric) for run, one, k in zip(runs, tables, known, strict=True)
        },
        notes=list(_notes(tables, metric)),
    )


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """The names of the folders; their paths where two have the same name."""
    names = [run.path.resolve().name for run in runs]
    count = Counter(names)
    paths = [name if count[name] == 1 else str(r.path) for name, r in zip(names, runs, strict=True)]
    if len(set(paths)) < len(paths):
        raise InputError("a run is given twice; give each once")
    return paths


def _options(tables: Sequence[RunSnapshot]) -> list[tuple[str, list[str]]]:
    values = [one.config.to_toml() for one in tables]
    names = dict.fromkeys(name for of_run in values for name in of_run)
    rows = [(name, [str(v.get(name, "-")) for v in values]) for name in names]
    return [(n, row) for n, row in rows if len(set(row)) > 1 and n not in _NOT_COMPARED]


def _key(row: dict[str, Any], one: RunSnapshot) -> str:
    """What identifies a placement across runs: modules also in networks of other depth."""
    return str(row["module"] or f"{one.config.network.label} {row['placement']}")


def _rows(one: RunSnapshot, metric: Metric) -> list[dict[str, Any]]:
    """One row for each placement with a full-length trial, best estimate first."""
    whole = ranked(full_length(one.trials, metric), metric)
    return rows_of(whole.drop_duplicates("placement"))


def _board(
    tables: Sequence[RunSnapshot], known: Sequence[pd.DataFrame], metric: Metric
) -> list[BoardRow]:
    of_runs = [{_key(row, one): row for row in _rows(one, metric)} for one in tables]
    shown: dict[str, str] = {}
    for rows in of_runs:
        found = [key for key, row in rows.items() if not row["module"]][:FOUND_SHOWN]
        shown |= {key: row["module"] for key, row in rows.items() if row["module"]}
        shown |= {key: rows[key]["placement"] for key in found}
    board = []
    for key, name in shown.items():
        cells = []
        for rows, estimated in zip(of_runs, known, strict=True):
            cell = "-"
            if key in rows:
                placement = rows[key]["placement"]
                n = int(estimated["n"][placement])
                cell = f"{estimate_text(estimated, placement, metric)} (n = {n})"
            cells.append(cell)
        board.append(BoardRow(name=name, cells=cells))
    return board


def _difference(
    runs: Sequence[str], tables: Sequence[RunSnapshot], i: int, j: int, metric: Metric
) -> Difference:
    means = []
    for one in (tables[i], tables[j]):
        whole = full_length(one.trials, metric)
        values = whole.astype({metric.name: float}).groupby("placement")[metric.name].mean()
        means.append({_key(r, one): float(values[r["placement"]]) for r in _rows(one, metric)})
    common = sorted(means[0].keys() & means[1].keys())
    gaps = np.array([metric.sign * (means[0][key] - means[1][key]) for key in common])
    low = high = None
    if len(gaps) >= 2:
        half = float(stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps)))
        low, high = float(gaps.mean()) - half, float(gaps.mean()) + half
    mean = float(gaps.mean()) if len(gaps) else math.nan
    return Difference(
        run=runs[i], base=runs[j], placements=len(gaps), mean=mean, low=low, high=high
    )


def _best_estimate(one: RunSnapshot, known: pd.DataFrame, metric: Metric) -> float:
    """The best estimate within the ReLU limits; of all placements if none is within them."""
    whole = full_length(one.trials, metric)
    within = admitted(whole, one.config)
    rows = whole if within.empty else within
    return float((metric.sign * known["estimate"].reindex(rows["placement"].unique())).max())


def _reference(
    tables: Sequence[RunSnapshot], best: Sequence[float], i: int, metric: Metric
) -> float:
    """The best estimate of all runs that are validated on the images of run i."""
    digest = tables[i].record["data"]["split_digest"]
    same = [b for one, b in zip(tables, best, strict=True) if _digest(one) == digest]
    return metric.sign * max(same)


def _digest(one: RunSnapshot) -> str:
    return str(one.record["data"]["split_digest"])


def _regret(
    one: RunSnapshot, known: pd.DataFrame, reference: float, metric: Metric
) -> pd.DataFrame:
    """See `Comparison.regrets`. The leader is the placement with the best single metric so far."""
    trials = one.trials.reset_index(drop=True)
    hours = trials["seconds"].astype(float).fillna(0).cumsum().to_numpy() / 3600
    whole = admitted(full_length(trials, metric), one.config)
    scores = metric.sign * whole[metric.name].astype(float)
    led = whole["placement"].to_numpy()[scores.expanding().apply(np.argmax, raw=True).astype(int)]
    behind = metric.sign * (reference - known["estimate"].reindex(led).to_numpy()) + 0.0  # no -0
    rows = zip(whole.index + 1, hours[whole.index], behind, strict=True)
    return pd.DataFrame(rows, columns=["trials", "hours", "regret"])


def _front(one: RunSnapshot, known: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The placements within the limits of the search that no cheaper one beats."""
    whole = admitted(full_length(one.trials, metric), one.config)
    whole = whole.drop_duplicates("placement").set_index("placement")
    share = 100 * whole["relus"].astype(float) / len(one.config.network.sites)
    estimate = known["estimate"].reindex(share.index)
    on_front = pareto_front(share, metric.sign * estimate)
    table = pd.DataFrame({"share": share[on_front], "estimate": estimate[on_front]})
    return table.sort_values("share").reset_index(names="placement")


def _notes(tables: Sequence[RunSnapshot], metric: Metric) -> list[str]:
    notes = [
        "Numbers are the estimates by which each run ranks its placements (mean ± 1 sd). Intervals "
        "of common placements are over placements, so they say what holds for placements like "
        "these; only relu-search confirm decides about single ones."
    ]
    if len({_digest(one) for one in tables}) > 1:
        notes.append(
            "The runs have different validation images (other data, or another seed of the split). "
            "Regret is within runs on the same images."
        )
    if len({one.config.metric for one in tables}) > 1:
        notes.append(f"The runs optimise different metrics; they are compared by {metric.title}.")
    if len({one.config.epochs for one in tables}) > 1:
        notes.append("The trials have different numbers of epochs.")
    return notes
