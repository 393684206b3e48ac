"""What does `--from` save, and when does it harm? By replay of ReLU-Bench.

```bash
python -m benchmarks.search.transfer               # writes the table of transfer.md
```
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import Table, load
from benchmarks.replay.judging import leaders
from benchmarks.replay.replays import full_length, in_processes, trial_row
from benchmarks.replay.simulator import Ended, Replay
from relu_search.analysis.leaderboard import ranked, rows_of
from relu_search.samplers.choice_space import ChoiceSpace
from relu_search.samplers.study_arrays import Prior
from relu_search.settings.metrics import METRICS
from relu_search.transfer.carry_over import carried_over
from relu_search.transfer.earlier_run import TRIED_FIRST
from search_spaces import Placement, SearchSpace

PAGE = Path(__file__).parents[1] / "transfer.md"
PAIRS = (
    ("plain-12", "plain-12"),
    ("preresnet-8", "preresnet-8"),
    ("plain-20-colour-short", "plain-20-colour"),
    ("plain-12", "plain-20-colour"),
    ("preresnet-8", "plain-12"),
)
"""Tables of the earlier search and of the new one."""
WAYS = ("alone", "placements first", "placements first, and data of the model")
"""The last way is for equal tables, whose trainings are the same but for their seeds."""
EARLIER_TRIALS, TRIALS = 48, 40
AFTER = (8, 16, 40)
"""Trials of the new search after which its leader is judged."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a new search went.

    Attributes:
        regrets: after `AFTER` trials, how far the leader is behind the best placement of the space:
            logarithm of the mean test loss. Before there is a leader, that of paired.
        reached: trials until the leader was among the best 5 %; infinite: never.
    """

    regrets: tuple[float, ...]
    reached: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Searches from others, replayed on ReLU-Bench.")
    parser.add_argument("--replays", type=int, default=40, help="pairs of searches per row")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    found = in_processes(replayed, PAIRS, **vars(arguments))
    heads = [f"regret after {count} trials" for count in AFTER]
    lines = [
        f"{arguments.replays} pairs of searches per row. Regrets are means, in % of the test loss.",
        "The last column is the median number of trials until the leader was among the best 5 %.",
        "",
        f"| from | to | way | {' | '.join(heads)} | trials |",
        "|---" * (len(AFTER) + 4) + "|",
    ]
    for (earlier, later), of_pair in zip(PAIRS, found, strict=True):
        for way in of_pair[0]:
            lines.append(f"| {earlier} | {later} | {way} | {_cells([r[way] for r in of_pair])} |")
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def replayed(earlier: str, later: str, seed: int) -> dict[str, Course]:
    """An earlier search, and new ones with other seeds of their table; by way."""
    before, table = load(earlier), load(later)
    rng = random.Random(seed)
    used = rng.sample(range(before.spec.seeds), before.spec.seeds)
    seeds = rng.sample(range(table.spec.seeds), table.spec.seeds)
    if earlier == later:
        used, seeds = used[: len(used) // 2], used[len(used) // 2 :]
    known = Replay(
        table=before, sampler="gp", trials=EARLIER_TRIALS, seeds=used, workers=2, seed=seed
    ).run()
    space = SearchSpace(table.spec.space.backbone, table.spec.granularity)
    whole = full_length(before, known)
    first = _first(before, whole, space)
    ways: dict[str, tuple[tuple[Placement, ...], Prior | None]] = {
        WAYS[0]: ((), None),
        WAYS[1]: (first, None),
    }
    if earlier == later:
        ways[WAYS[2]] = (first, _prior(before, whole, space))
    return {
        way: _course(
            table,
            Replay(
                table=table,
                sampler="gp",
                trials=TRIALS,
                seeds=seeds,
                workers=2,
                seed=seed + 1000,
                first=tried,
                prior=prior,
            ).run(),
        )
        for way, (tried, prior) in ways.items()
    }


def _first(before: Table, whole: Sequence[Ended], space: SearchSpace) -> tuple[Placement, ...]:
    """The placements that a new search tries first."""
    source = before.spec.space.backbone
    trials = pd.DataFrame(trial_row(before, n, e.row, e.seed) for n, e in enumerate(whole))
    order = ranked(trials, METRICS["val_loss"]).drop_duplicates("placement")
    found = [row for row in rows_of(order) if not row["module"] and row["relus"]]
    placements = [Placement.parse(row["placement"]) for row in found]
    if source != space.backbone:
        placements = [carried_over(placement, source, space) for placement in placements]
    admitted = (space.canonical(p) for p in placements if space.admits(p))
    return tuple(dict.fromkeys(admitted))[:TRIED_FIRST]


def _prior(before: Table, whole: Sequence[Ended], space: SearchSpace) -> Prior:
    points_of, losses = ChoiceSpace.of(space), before.final("val_loss")
    params = [space.encode(before.spec.placements[one.row]) for one in whole]
    return Prior(
        points=np.array([points_of.point_of(p) for p in params if p is not None], dtype=np.int64),
        scores=np.array([-np.log(losses[one.row, one.seed]) for one in whole]),
    )


def _course(table: Table, ended: Sequence[Ended]) -> Course:
    truth = np.log(np.nanmean(table.final("test_loss"), axis=1))
    allowed = np.sort(truth[table.relus >= 1])
    limit = allowed[max(1, round(0.05 * len(allowed))) - 1]
    finals = table.final("val_loss")
    paired = table.row_of["1" * len(table.spec.space.backbone.sites)]
    whole: list[Ended] = []
    regrets, reached = [], np.inf
    for count, one in enumerate(ended, start=1):
        if one.epochs == table.spec.recipe.epochs and not one.failed:
            whole.append(one)
        leader = None
        if whole:
            scores = np.array([-np.log(finals[t.row, t.seed]) for t in whole])
            leader = leaders(table, [t.row for t in whole], scores, 1)[0]
        value = truth[paired if leader is None else leader]
        if value <= limit:
            reached = min(reached, count)
        if count in AFTER:
            regrets.append(float(value - allowed[0]))
    return Course(regrets=tuple(regrets), reached=float(reached))


def _cells(courses: Sequence[Course]) -> str:
    means = 100 * np.array([one.regrets for one in courses]).mean(axis=0)
    middle = np.quantile([one.reached for one in courses], 0.5, method="nearest")
    texts = [f"{mean:.1f}" for mean in means]
    texts.append(f"{middle:.0f}" if np.isfinite(middle) else f"over {TRIALS}")
    return " | ".join(texts)


if __name__ == "__main__":
    main()
