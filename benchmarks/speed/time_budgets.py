"""Do searches end when their time budget does, and is the estimate before them right?

```bash
python -m benchmarks.speed.time_budgets            # writes time_budgets.md, about 17 minutes
```

Ten searches on the digits, one after another. Three of them are killed and resumed. The time is
taken from outside, by the clock of this program: it has the start of Python and the summary, and no
report. Nothing else should run beside the searches. `--keep FILE` keeps the rows, and measures only
those that it lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.pages import write_below_mark
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.time_spent import time_spent

PAGE = Path(__file__).parents[1] / "time_budgets.md"


@dataclass(frozen=True)
class Search:
    """A search with a time budget.

    Attributes:
        budget: in seconds.
        workers: trials at the same time.
        options: further ones.
        killed_after: seconds after which its processes are killed and it is resumed; None: never.
    """

    budget: int
    workers: int
    options: str = ""
    killed_after: int | None = None


SEARCHES = (
    Search(70, 1),
    Search(60, 2),
    Search(90, 1, killed_after=40),
    Search(100, 2, "--backbone plain-20"),
    Search(110, 1, "--epochs 12"),
    Search(75, 2, "--epochs 3", killed_after=40),
    Search(130, 2, killed_after=70),
    Search(80, 1, "--backbone preresnet-20 --granularity block"),
    Search(160, 2, "--epochs 10"),
    Search(65, 2, "--sampler random"),
)


@dataclass(frozen=True)
class Measured:
    """How a search ended.

    Attributes:
        seconds: from the start of the command to its end; of both commands, if it was resumed.
        counted: by the search itself, to the end of its last trial.
        estimated: trials, before the first one.
        trials: that have ended.
    """

    seconds: float
    counted: float
    estimated: int
    trials: int


def measured(search: Search, run: Path) -> Measured:
    """Run a search to its end."""
    text, seconds = "", 0.0
    budget = ["--time-budget", f"{search.budget}s", "--concurrent", str(search.workers)]
    ways = [["--out", str(run), "--no-report", *budget, *search.options.split()]]
    if search.killed_after is not None:
        ways.append(["--resume", str(run)])
    for way, limit in zip(ways, (search.killed_after, None), strict=False):
        begun = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "relu_search.cli", "search", *way],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                text += process.communicate(timeout=limit)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text += process.communicate()[0]
        seconds += time.monotonic() - begun
    estimate = re.search(r"about ([\d,]+) trial", text)
    assert estimate is not None, text
    return Measured(
        seconds=round(seconds, 1),
        counted=time_spent(run, "search"),
        estimated=int(estimate[1].replace(",", "")),
        trials=len(RunFolder(run).read_trials()),
    )


def page(rows: list[tuple[Search, Measured]]) -> Iterator[str]:
    """The table, line by line."""
    heads = ["budget", "workers", "options", "killed after", "to its end", "counted"]
    heads += ["estimated", "trials"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for search, found in rows:
        killed = "-" if search.killed_after is None else f"{search.killed_after} s"
        options = f"`{search.options}`" if search.options else "-"
        yield (
            f"| {search.budget} s | {search.workers} | {options} | {killed} "
            f"| {found.seconds:.1f} s ({found.seconds / search.budget - 1:+.1%}) "
            f"| {found.counted:.1f} s ({found.counted / search.budget - 1:+.1%}) "
            f"| {found.estimated} | {found.trials} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Searches with a time budget, measured.")
    parser.add_argument("--keep", type=Path, help="a JSON file of rows")
    kept: Path | None = parser.parse_args().keep
    found = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for number, search in enumerate(SEARCHES):
        if str(number) not in found:
            with tempfile.TemporaryDirectory() as folder:
                found[str(number)] = asdict(measured(search, Path(folder) / "run"))
            print(search, found[str(number)], flush=True)
            if kept is not None:
                kept.write_text(json.dumps(found, indent=1) + "\n")
    rows = [(search, Measured(**found[str(i)])) for i, search in enumerate(SEARCHES)]
    write_below_mark(PAGE, "\n".join(page(rows)) + "\n")


if __name__ == "__main__":
    main()
