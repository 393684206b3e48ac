"""Rows of the speed pages (ours against a peer, with n and spread), and the command of a page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from relu_search.export.card import versions
from relu_search.export.timing import Timing


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        section: heading of its table.
        what, peer: what was measured, and what it is compared with; empty: with nothing.
        ours, theirs: results of both, as text with a unit.
        ratio: how many times better ours is (above 1: better); None: no comparison.
        low, high: of the ratio, from the quartiles of both (with fewer than 4 runs: the extremes).
        n: number of runs of each.
        goal: as text; empty: no goal.
        reached: whether the goal is reached; None: no goal.
    """

    section: str
    what: str
    peer: str = ""
    ours: str
    theirs: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    n: int
    goal: str = ""
    reached: bool | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_timings(  # noqa: PLR0917
        cls, section: str, what: str, peer: str, ours: Timing, theirs: Timing, goal: float | None
    ) -> Row:
        """From two timings of the same work."""
        ratio = theirs.median_ms / ours.median_ms
        return cls(
            section=section,
            what=what,
            peer=peer,
            ours=seconds_text(ours.median_ms / 1e3),
            theirs=seconds_text(theirs.median_ms / 1e3),
            ratio=ratio,
            low=theirs.q25_ms / ours.q75_ms,
            high=theirs.q75_ms / ours.q25_ms,
            n=ours.n,
            goal="" if goal is None else f"≥ {goal:g}x",
            reached=None if goal is None else ratio >= goal,
        )


def seconds_text(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def table(rows: list[Row]) -> str:
    """Markdown with one table per section."""
    parts = []
    for section in dict.fromkeys(row.section for row in rows):
        lines = [
            f"## {section}",
            "",
            "| what | against | ours | peer | ratio | spread | n | goal | reached |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row.section == section):
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            spread = "" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
            reached = {None: "", True: "yes", False: "**no**"}[row.reached]
            cells = (row.what, row.peer, row.ours, row.theirs, ratio, spread, row.n, row.goal)
            lines.append(f"| {' | '.join(map(str, cells))} | {reached} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def machine() -> dict[str, str]:
    """The date, the machine and the versions with which the rows were measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    facts = {"date": date.today().isoformat(), "cpu": f"{model}, {os.cpu_count()} cores"}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["cuda"] = str(torch.version.cuda)
    return {**facts, **versions()}


def ratio_of_runs(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """(ratio of medians, lowest, highest) of times; above 1: ours is shorter."""
    return (
        median(theirs) / median(ours),
        min(theirs) / max(ours),
        max(theirs) / min(ours),
    )


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


_MARK = "<!-- generated below -->"
_SECTION = re.compile(r"<!-- section (\w+) -->\n(.*?)(?=<!-- section|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Findings:
    """Rows by section, and where they were measured.

    Attributes:
        machines: section -> facts as of `machine()`.
        rows: section -> its rows.
    """

    machines: dict[str, dict[str, str]]
    rows: dict[str, list[Row]]
    _here: dict[str, str]

    @classmethod
    def here(cls) -> Findings:
        """No rows yet, on this machine."""
        return cls({}, {}, machine())

    @classmethod
    def read(cls, *files: str) -> Findings:
        """From files that `save` has written; of a section that several have, the last one's."""
        found = cls({}, {}, {})
        for file in files:
            for name, section in json.loads(Path(file).read_text()).items():
                found.machines[name] = section["machine"]
                found.rows[name] = [Row(**row) for row in section["rows"]]
        return found

    def add(self, section: str, row: Row) -> None:
        """Add a row that was measured here, and show it."""
        self.machines[section] = self._here
        self.rows.setdefault(section, []).append(row)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        print(row.section, "|", row.what, row.ours, row.theirs, ratio, file=sys.stderr, flush=True)

    def save(self, file: str | None) -> None:
        """Write everything as JSON to a file, or to stdout for `-`; None: nowhere."""
        if file is None:
            return
        found = {
            name: {"machine": self.machines[name], "rows": [row.to_json() for row in rows]}
            for name, rows in self.rows.items()
        }
        text = json.dumps(found, indent=2) + "\n"
        sys.stdout.write(text) if file == "-" else Path(file).write_text(text)

    def write_page(self, page: Path, order: Sequence[str]) -> None:
        """Replace these sections of a page; its prose and its other sections are kept."""
        tables = {}
        for name, rows in self.rows.items():
            made = ", ".join(f"{key} {value}" for key, value in self.machines[name].items())
            tables[name] = f"{table(rows)}\nMade: {made}.\n"
        before = page.read_text() if page.exists() else ""
        page.write_text(with_sections(before, order, tables))


def run_sections(
    description: str, page: Path, sections: Mapping[str, Callable[[], Iterator[Row]]]
) -> None:
    """The command of a page: measure all sections or some; write them to the page, or as JSON.

    Args:
        description: of the command; its first line is shown by `--help`.
        sections: name -> what measures it, in the order of the page.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(sections)}")
    parser.add_argument(
        "--json", help="write rows here after each (- for stdout at the end), not the page"
    )
    parser.add_argument("--from", dest="files", nargs="+", help="write the page from these files")
    arguments = parser.parse_args()
    if arguments.files:
        Findings.read(*arguments.files).write_page(page, list(sections))
        return
    chosen = arguments.sections or list(sections)
    if unknown := [name for name in chosen if name not in sections]:
        parser.error(f"unknown section {', '.join(unknown)}; use {', '.join(sections)}")
    findings = Findings.here()
    for name in chosen:
        for row in sections[name]():
            findings.add(name, row)
            if arguments.json != "-":
                findings.save(arguments.json)  # a run that is cut off has results too
    if arguments.json == "-":
        findings.save("-")
    elif arguments.json is None:
        findings.write_page(page, list(sections))


def with_sections(page: str, order: Sequence[str], tables: Mapping[str, str]) -> str:
    """A page with these sections replaced; its prose and its other sections are kept."""
    prose, _, generated = page.partition(_MARK)
    known = {name: text.strip() for name, text in _SECTION.findall(generated)}
    known |= {name: text.strip() for name, text in tables.items()}
    parts = [f"<!-- section {name} -->\n{known[name]}\n" for name in order if name in known]
    return "\n".join([f"{prose}{_MARK}\n", *parts])
