"""Does one training with a learned gate at every ReLU save trainings of a search?

```bash
python -m benchmarks.search.gates --data parquet:DIR      # writes benchmarks/gates.md
```

DIR has the images of CIFAR-10. Every training and every replay is kept in `out/gates/`, so a run
that was cut off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
REPLAYED = {"gp": (*FREE, "growing-4", "none-4"), "random": ("nothing", "none-4")}
"""What the searches of a sampler try first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-10 by another name, as parquet:DIR")
    parser.add_argument("--seeds", type=int, default=10, help="trainings with gates on digits")
    parser.add_argument("--colour-seeds", type=int, default=2, help="the same on colour images")
    parser.add_argument("--replays", type=int, default=24, help="of each search")
    parser.add_argument("--work", type=Path, default=Path("out/gates"), help="of what is kept")
    arguments = parser.parse_args()
    seeds = {
        "plain-12": arguments.seeds,
        "preresnet-8": arguments.seeds,
        "plain-20-colour": arguments.colour_seeds,
    }
    lines = []
    for name, count in seeds.items():
        lines += _about(name, count, arguments.replays, arguments.work, arguments.data)
    write_below_mark(PAGE, "\n".join(lines) + "\n")


def _about(name: str, seeds: int, replays: int, work: Path, source: str | None) -> list[str]:
    """The part of the page about one table."""
    table = load(name)
    truth = Truth(table, tied_sites(table.spec.space))
    found = {gates.name: rankings(table, gates, seeds, work, source) for gates in GATES}
    advice: dict[str, Sequence[Sequence[Placement]]] = {
        way: free_lists(truth, way, replays) for way in FREE
    }
    advice |= {way: [one.front for one in rows] for way, rows in found.items()}
    lines = [f"## {name}", "", *agreement_rows(truth, found), "", *effect_rows(truth, found)]
    lines += ["", *first_rows(truth, advice)]
    for sampler, references in product(("gp", "random"), (False, True)):
        courses: dict[str, tuple[list[Course], list[Course]]] = {}
        for way in REPLAYED[sampler]:
            full, stopped = (
                searched(setting, advice[way], replays, work / f"{setting.name}-{way}.json")
                for setting in (
                    Setting(name, sampler, references, early_stopping)
                    for early_stopping in (False, True)
                )
            )
            courses[way] = full, stopped
        lines += ["", *search_rows(sampler, references, courses)]
    return [*lines, ""]


if __name__ == "__main__":
    main()
