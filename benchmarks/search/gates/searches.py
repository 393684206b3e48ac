"""Searches that try given placements first, replayed against a table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.relu_bench import load
from benchmarks.replay.judging import judged
from benchmarks.replay.replays import seed_order
from benchmarks.replay.simulator import Replay
from search_spaces import Placement


@dataclass(frozen=True)
class Setting:
    """What the compared searches have in common.

    Attributes:
        references: they begin with the hand-designed modules and the control.
    """

    table: str
    sampler: str
    references: bool
    early_stopping: bool

    @property
    def trials(self) -> int:
        """100, or fewer where the space has fewer placements."""
        return 100 if len(load(self.table).spec.placements) > 100 else 50

    @property
    def name(self) -> str:
        begins = "modules" if self.references else "bare"
        stops = "asha" if self.early_stopping else "full"
        return f"{self.table}-{self.sampler}-{begins}-{stops}"


@dataclass(frozen=True)
class Course:
    """How one search went.

    Attributes:
        regrets: (trials,) nats by which its leader is behind the best placement after each trial;
            infinite before there is a leader.
        top5, top1: trials until the leader was among the best 5 % (1 %); infinite: never.
    """

    regrets: list[float]
    top5: float
    top1: float


def searched(
    setting: Setting, advice: Sequence[Sequence[Placement]], replays: int, file: Path
) -> list[Course]:
    """Replays with the seeds 0, 1, 2, ...; replay i has the advice i, i modulo their number.

    Args:
        advice: what is tried first.
        file: keeps the courses, so that only missing ones are replayed.
    """
    known = [Course(**row) for row in json.loads(file.read_text())] if file.exists() else []
    for seed in range(len(known), replays):
        known.append(_course(setting, tuple(advice[seed % len(advice)]), seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(course) for course in known]))
    return known[:replays]


def _course(setting: Setting, first: tuple[Placement, ...], seed: int) -> Course:
    table = load(setting.table)
    order = seed_order(table, seed)
    replay = Replay(
        table=table,
        sampler=setting.sampler,
        trials=setting.trials,
        seeds=order,
        seed=seed,
        early_stopping=setting.early_stopping,
        references=setting.references,
        first=first,
    )
    outcome = judged(replay.run(), table, order, replay.min_relus)
    return Course(
        regrets=[math.inf if nats is None else nats for nats in outcome.regret],
        top5=math.inf if outcome.top5 is None else outcome.top5,
        top1=math.inf if outcome.top1 is None else outcome.top1,
    )
