"""Seconds and memory of a training by depth and by the size of a pack, each in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.speed.rows import Row
from search_spaces import Backbone

SETTINGS = (
    *((backbone, 1) for backbone in ("plain-20", "plain-38", "plain-62", "preresnet-110")),
    *(("plain-38", pack) for pack in (2, 4, 8, 16)),
)
REPEATS = 3


def growth_rows() -> Iterator[Row]:
    """Seconds of an epoch of digits (width 8, one thread) and the peak memory of the process."""
    for backbone, pack in SETTINGS:
        runs = [_in_a_fresh_process(backbone, pack) for _ in range(REPEATS)]
        seconds, megabytes = (median(run[i] for run in runs) for i in (0, 1))
        low, high = min(run[0] for run in runs), max(run[0] for run in runs)
        yield Row(
            section="Growth with depth and pack: digits, width 8, one thread",
            what=f"{backbone}, {pack} in a pack" if pack > 1 else f"{backbone}, ordinary",
            ours=f"{seconds:.2f} s [{low:.2f}, {high:.2f}] per trial and epoch",
            theirs=f"{megabytes:.0f} MB in the process",
            n=REPEATS,
        )


def _in_a_fresh_process(backbone: str, pack: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.speed.growth", backbone, str(pack)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, megabytes


def main() -> None:
    """Print [seconds of the second epoch per trial, megabytes]."""
    from trials import Recipe, TrialSpec, load_data
    from trials.fast.packing import PackedTraining
    from trials.running.trial import run_trial

    backbone, pack = sys.argv[1], int(sys.argv[2])
    recipe, data = Recipe(epochs=2, batch_size=32), load_data("digits")
    sites = len(Backbone.parse(backbone, 8).sites)
    specs = [
        TrialSpec(backbone=backbone, width=8, placement=f"{i + 1:0{sites}b}", recipe=recipe)
        for i in range(pack)
    ]
    if pack == 1:
        seconds = run_trial(specs[0], data).epochs[-1].seconds
    else:
        training = PackedTraining(data)
        for number, spec in enumerate(specs):
            training.join(number, spec)
        training.epoch()
        started = time.perf_counter()
        training.epoch()
        seconds = (time.perf_counter() - started) / pack
    print(json.dumps([seconds, _most_megabytes()]))


def _most_megabytes() -> float:
    """Peak memory of this process. (`ru_maxrss` would include that of its parent.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
