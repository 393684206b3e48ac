"""How fast on a CPU, against what: every row of `speed.md`.

```bash
python -m benchmarks.speed                       # everything, writes the page
python -m benchmarks.speed epoch input --json -  # some, as JSON
```
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import growth, scheduling_speed, training_speed
from benchmarks.speed_rows import run_sections


def main() -> None:
    run_sections(
        __doc__ or "",
        Path(__file__).with_suffix(".md"),
        {
            "input": lambda: training_speed.input_rows(rounds=9),
            "epoch": lambda: training_speed.epoch_rows(rounds=9),
            "profile": training_speed.profile_rows,
            "packing": training_speed.packing_rows,
            "growth": growth.growth_rows,
            "candidates": lambda: training_speed.candidate_rows(repeats=3),
            "overhead": lambda: scheduling_speed.overhead_rows(repeats=2, long_trials=True),
            "workers": scheduling_speed.worker_rows,
            "proposer": lambda: scheduling_speed.proposer_rows(proposals=20),
            "commands": lambda: scheduling_speed.command_rows(repeats=9),
        },
    )


if __name__ == "__main__":
    main()
