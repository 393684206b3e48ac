"""What a replay is asked and what it gave: the data of `search_efficiency.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.replay.judging import Outcome

TRIALS = 100
"""Trials of a replay; a target that was not reached by then counts as not reached."""
LONGER = {"random": 600}
"""Strategies that are given more where trials are stopped early, so that their median is known."""


@dataclass(frozen=True, order=True)
class Cell:
    """One condition of the comparison."""

    table: str
    workers: int
    early_stopping: bool
    strategy: str

    @property
    def trials(self) -> int:
        return LONGER.get(self.strategy, TRIALS) if self.early_stopping else TRIALS

    @property
    def name(self) -> str:
        stops = "asha" if self.early_stopping else "full"
        strategy = self.strategy.replace(" ", "-").replace(",", "")
        return f"{self.table}-{strategy}-{stops}-{self.workers}-{self.trials}"


Outcomes = Mapping[Cell, Sequence[Outcome]]


def write_outcomes(file: Path, outcomes: Sequence[Outcome]) -> None:
    file.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))


def read_outcomes(file: Path) -> list[Outcome]:
    return [Outcome(**outcome) for outcome in json.loads(file.read_text())]


def quartiles(counts: Sequence[float | None]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; None counts as infinite."""
    values = [np.inf if count is None else float(count) for count in counts]
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), method="nearest").tolist()
    return low, middle, high
