"""Speed on a CPU, compared with usual solutions: the rows of `speed.md`.

```bash
python -m benchmarks.speed                       # all sections; writes the page
python -m benchmarks.speed epoch input --json -  # some sections, as JSON
```
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed import growth, scheduling, training
from benchmarks.speed.rows import run_sections


def main() -> None:
    run_sections(
        __doc__ or "",
        Path(__file__).parents[1] / "speed.md",
        {
            "input": lambda: training.input_rows(rounds=9),
            "epoch": lambda: training.epoch_rows(rounds=9),
            "profile": training.profile_rows,
            "packing": training.packing_rows,
            "growth": growth.growth_rows,
            "candidates": lambda: training.candidate_rows(repeats=3),
            "overhead": lambda: scheduling.overhead_rows(repeats=2, long_trials=True),
            "workers": scheduling.worker_rows,
            "proposer": lambda: scheduling.proposer_rows(proposals=20),
            "commands": lambda: scheduling.command_rows(repeats=9),
        },
    )


if __name__ == "__main__":
    main()
