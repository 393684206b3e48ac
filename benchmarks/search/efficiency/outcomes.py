"""What is replayed, and what came of it: the data of `search_efficiency.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TRIALS = 100
"""Trials of a replay."""
AFTER = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
"""Trials after which the leader is judged."""


@dataclass(frozen=True, order=True)
class Cell:
    """One condition of the comparison."""

    table: str
    workers: int
    early_stopping: bool
    strategy: str

    @property
    def name(self) -> str:
        stops = "stopping" if self.early_stopping else "full"
        return f"{self.table}-{self.strategy.replace(' ', '-')}-{stops}-{self.workers}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one replay gave.

    Attributes:
        regrets: of the leader, after `AFTER` trials, in nats of test loss; None: no leader yet.
        limit: a leader with at most this regret is in the target.
        epochs: trained in all.
    """

    regrets: list[float | None]
    limit: float
    epochs: int

    def after(self, trials: int) -> float:
        """The regret after so many trials; infinite without a leader."""
        regret = self.regrets[AFTER.index(trials)]
        return float("inf") if regret is None else regret

    def is_in_target(self, trials: int) -> bool:
        """Whether the leader is in the target after so many trials."""
        return self.after(trials) <= self.limit


Outcomes = Mapping[Cell, Sequence[Outcome]]


def write_outcomes(file: Path, outcomes: Sequence[Outcome]) -> None:
    file.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))


def read_outcomes(file: Path) -> list[Outcome]:
    return [Outcome(**outcome) for outcome in json.loads(file.read_text())]
