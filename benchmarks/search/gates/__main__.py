"""Does one training with a learned gate at every ReLU save trainings of a search?

```bash
python -m benchmarks.search.gates --data parquet:DIR      # writes benchmarks/gates.md
```

DIR has the images of CIFAR-10. Every training and every replay is kept in `out/gates/`, so a run
that was cut off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.pages import write_below_mark
from benchmarks.relu_bench import load
from benchmarks.search.gates.page import agreement_rows, effect_rows, first_rows, search_rows
from benchmarks.search.gates.searches import Course, Setting, searched
from benchmarks.search.gates.training import tied_sites
from benchmarks.search.gates.truth import Truth
from benchmarks.search.gates.ways import FREE, GATES, free_lists, rankings
from search_spaces import Placement

PAGE = Path(__file__).parents[2] / "gates.md"


@dataclass(frozen=True)
class Plan:
    """What is done with one table.

    Attributes:
        seeds: cost of a training with gates -> how many of them.
        advising: the gates whose fronts are tried first by searches with `gp`.
    """

    table: str
    seeds: Mapping[int, int]
    advising: tuple[str, ...]


PLANS = (
    Plan("plain-12", {1: 10, 4: 10}, ("growing-4", "none-4", "none-1")),
    Plan("preresnet-8", {1: 10, 4: 10}, ("growing-4", "none-4", "none-1")),
    Plan("plain-20-colour", {1: 3, 4: 2}, ("growing-4", "none-4", "growing-1", "none-1")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-10 by another name, as parquet:DIR")
    parser.add_argument("--replays", type=int, default=24, help="of each search")
    parser.add_argument("--work", type=Path, default=Path("out/gates"), help="of what is kept")
    arguments = parser.parse_args()
    lines = []
    for plan in PLANS:
        lines += _about(plan, arguments.replays, arguments.work, arguments.data)
    write_below_mark(PAGE, "\n".join(lines))


def _about(plan: Plan, replays: int, work: Path, source: str | None) -> list[str]:
    """The part of the page about one table."""
    table = load(plan.table)
    truth = Truth(table, tied_sites(table.spec.space))
    found = {
        gates.name: rankings(
            table,
            gates,
            plan.seeds[gates.cost],
            work,
            source if table.spec.data == "cifar10" else None,
        )
        for gates in GATES
    }
    advice: dict[str, Sequence[Sequence[Placement]]] = {
        way: free_lists(truth, way, replays) for way in FREE
    }
    advice |= {way: [one.front for one in rows] for way, rows in found.items()}
    lines = [f"## {plan.table}", "", *agreement_rows(truth, found), "", *effect_rows(truth, found)]
    lines += ["", *first_rows(truth, advice)]
    replayed = {"gp": [*FREE, *plan.advising], "random": ["nothing", "none-1"]}
    for sampler, references in product(replayed, (False, True)):
        courses: dict[str, tuple[list[Course], list[Course]]] = {}
        for way in replayed[sampler]:
            full, stopped = (
                searched(setting, advice[way], replays, work / f"{setting.name}-{way}.json")
                for setting in (
                    Setting(plan.table, sampler, references, early_stopping)
                    for early_stopping in (False, True)
                )
            )
            courses[way] = full, stopped
        lines += ["", *search_rows(sampler, references, courses)]
    return [*lines, ""]


if __name__ == "__main__":
    main()
