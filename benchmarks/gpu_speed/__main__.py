"""Speed on a GPU, compared with a usual loop and with the lower bound: the rows of `gpu_speed.md`.

```bash
python -m benchmarks.gpu_speed --json rows.json            # all sections, into a file
python -m benchmarks.gpu_speed floor --json -              # one section
python -m benchmarks.gpu_speed --from rows.json more.json  # writes the page from such files
python -m benchmarks.gpu_speed --device cpu --quick        # does everything run here?
```

It needs neither Ray nor Optuna.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.speed.rows import Row

# All else is imported in functions: each process that a section starts imports this file again.


PAGE = Path(__file__).parents[1] / "gpu_speed.md"
SECTIONS = (
    "steps",
    "candidates",
    "long",
    "floor",
    "deterministic",
    "compiled",
    "processes",
    "table1",
)


def main() -> None:
    import torch

    from benchmarks.speed.rows import Findings

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small sizes: a check, no measurement")
    parser.add_argument("--seconds", type=float, help="start no further row after this time")
    parser.add_argument("--data", default="cifar10", help="images of table1, such as parquet:DIR")
    parser.add_argument("--json", help="write rows here after each row (- for stdout at the end)")
    parser.add_argument("--from", dest="files", nargs="+", help="write the page from these files")
    arguments = parser.parse_args()
    if arguments.files:
        try:
            found = Findings.read(*arguments.files)
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(
                f"--from: {type(error).__name__}: {error}; give files that --json has written"
            )
        if off := [name for name, facts in found.machines.items() if "gpu" not in facts]:
            parser.error(
                f"--from: {', '.join(off)} not measured on a GPU; the page is of GPUs only"
            )
        found.write_page(PAGE, SECTIONS)
        return
    chosen = arguments.sections or [name for name in SECTIONS if name != "table1"]
    if unknown := [name for name in chosen if name not in SECTIONS]:
        parser.error(f"unknown section {', '.join(unknown)}; use {', '.join(SECTIONS)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; use --device cpu --quick to check the code")
    sections = _sections(
        arguments.device, arguments.quick, arguments.data, arguments.seconds or 240.0
    )
    findings = Findings.here()
    started = time.perf_counter()
    for name in chosen:
        for row in sections[name]():
            findings.add(name, row)
            if arguments.json != "-":
                findings.save(arguments.json)
            if arguments.seconds and time.perf_counter() - started > arguments.seconds:
                print(f"stopped after {arguments.seconds:g} s, in section {name}")
                return
    if arguments.json == "-":
        findings.save("-")
    elif arguments.json is None and not arguments.quick:
        findings.write_page(PAGE, SECTIONS)


def _sections(
    device: str, is_quick: bool, data: str, seconds: float
) -> dict[str, Callable[[], Iterator[Row]]]:
    from benchmarks.gpu_speed import candidates
    from benchmarks.gpu_speed.kernels import floor_rows
    from benchmarks.gpu_speed.reproduction import table1_rows
    from benchmarks.gpu_speed.scale import FULL, QUICK
    from benchmarks.gpu_speed.steps import step_rows

    scale = QUICK if is_quick else FULL
    table1 = partial(table1_rows, device, source=data, seconds=seconds)
    if is_quick:
        small = {"depths": (8, 14), "images": 100, "seeds": 2, "precision": "fp32"}
        table1 = partial(table1, **small, seconds=min(seconds, 20.0))
    return {
        "steps": partial(step_rows, device, scale),
        "candidates": partial(candidates.candidate_rows, device, scale),
        "long": partial(candidates.long_rows, device, scale),
        "floor": partial(floor_rows, device, scale),
        "deterministic": partial(candidates.deterministic_rows, device, scale),
        "compiled": partial(candidates.compiled_rows, device, scale),
        "processes": partial(candidates.process_rows, device, scale),
        "table1": table1,
    }


if __name__ == "__main__":
    main()
