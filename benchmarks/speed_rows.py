"""A row of `speed.md`: ours beside a peer in one run, with n and spread."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from relu_search.card import versions
from relu_search.timing import Timing


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was compared.

    Attributes:
        section: heading that it stands under.
        what, peer: ours, and what it is compared with.
        ours, theirs: as text with a unit.
        ratio: how many times better ours is (over 1: better), or None.
        low, high: of the ratio, from the quartiles of both (of fewer than 4 runs: the extremes).
        n: runs of each.
        goal: as text; reached: whether it holds; None without a goal.
    """

    section: str
    what: str
    peer: str
    ours: str
    theirs: str
    ratio: float | None
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
    """Markdown, a table per section."""
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
    """Where and with what the rows were made."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "date": date.today().isoformat(),
        "cpu": f"{model}, {os.cpu_count()} cores",
        **versions(),
    }


def ratio_of_runs(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """(ratio of medians, lowest, highest) of times; over 1: ours is shorter."""
    return (
        median(theirs) / median(ours),
        min(theirs) / max(ours),
        max(theirs) / min(ours),
    )
