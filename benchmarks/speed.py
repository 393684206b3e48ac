"""How fast, against what: every row of `benchmarks/speed.md`.

```bash
python -m benchmarks.speed                       # everything, writes the page
python -m benchmarks.speed epoch input --json -  # some, as JSON
```
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import growth, scheduling_speed, training_speed
from benchmarks.speed_rows import Row, machine, table

PAGE = Path(__file__).with_suffix(".md")
_MARK = "<!-- generated below -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(sections('cpu'))}")
    parser.add_argument("--device", default="cpu", help="of packing: cpu or cuda")
    parser.add_argument("--json", help="write rows here (- for stdout), not the page")
    arguments = parser.parse_args()
    known = sections(arguments.device)
    chosen = arguments.sections or list(known)
    if unknown := set(chosen) - set(known):
        parser.error(f"unknown section {', '.join(unknown)}; use {', '.join(known)}")
    rows: list[Row] = []
    for name in chosen:
        for row in known[name]():
            rows.append(row)
            print(row.section, row.what, row.ours, row.theirs, row.ratio, file=sys.stderr)
    facts = machine()
    if arguments.json:
        text = json.dumps({"machine": facts, "rows": [row.to_json() for row in rows]}, indent=2)
        sys.stdout.write(text) if arguments.json == "-" else Path(arguments.json).write_text(text)
        return
    written = PAGE.read_text().partition(_MARK)[0] if PAGE.exists() else ""
    made = ", ".join(f"{name} {value}" for name, value in facts.items())
    PAGE.write_text(f"{written}{_MARK}\n\nMade: {made}.\n\n{table(rows)}")


def sections(device: str) -> dict[str, Callable[[], Iterator[Row]]]:
    return {
        "input": lambda: training_speed.input_rows(rounds=9),
        "epoch": lambda: training_speed.epoch_rows(rounds=9),
        "profile": training_speed.profile_rows,
        "packing": lambda: training_speed.packing_rows(device),
        "growth": growth.growth_rows,
        "candidates": lambda: training_speed.candidate_rows(repeats=2),
        "overhead": lambda: scheduling_speed.overhead_rows(repeats=2, long_trials=True),
        "proposer": lambda: scheduling_speed.proposer_rows(proposals=20),
        "commands": lambda: scheduling_speed.command_rows(repeats=9),
    }


if __name__ == "__main__":
    main()
