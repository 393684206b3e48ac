"""The looks at the test accuracies: how much error each look may spend, and what it has shown.

A confirmation may be looked at again after more seeds. All its comparisons together have an error
of 0.04 to spend; 0.01 of the promised 0.05 is kept for noise that is not normal. By n seeds the
share 1 - 3 / n may be spent: half by 6 seeds, 85 % by 20, never more than all. So a look at n seeds
has the level 0.04 * 3 * (1 / m - 1 / n), where m is the number of seeds of the look before (3 if
there is none). The levels of all looks add up to less than 0.04, whenever the looks are and however
many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from relu_search.analysis.leaderboard import rows_of
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table, write_table
from relu_search.statistics.paired_tests import FEWEST_SEEDS
from search_spaces import InputError

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]

SPENT = 0.04
LOOKS = "looks.csv"
OLD_VERDICTS = (
    "An earlier version judged this run and recorded no looks. Its runs are judged by the present "
    "rule (docs/verdicts.md); the look of the old verdict.csv counts as one."
)
_START = 3
_OPPOSITE: dict[str, Verdict] = {"better": "worse", "worse": "better"}


def level_of(n: int, before: int | None) -> float:
    """The error that a look may spend on all comparisons together.

    Args:
        n: seeds in common at this look.
        before: seeds in common at the look before; None: this is the first.
    """
    return SPENT * _START * (1 / (before or _START) - 1 / n)


@dataclass(frozen=True)
class Look:
    """One comparison at one look.

    Attributes:
        placement, versus: texts of the two placements.
        n: seeds in common.
        verdict: of `placement` against `versus`.
        margin: of equivalence, in 0 to 1.
    """

    placement: str
    versus: str
    n: int
    verdict: Verdict
    margin: float


class Looks:
    """All looks of a confirmation so far, in the order of time."""

    def __init__(self, looks: Iterable[Look] = ()) -> None:
        self._looks: dict[frozenset[str], list[Look]] = defaultdict(list)
        for look in looks:
            self.add(look)

    @classmethod
    def read(cls, run: RunFolder) -> tuple[Looks, bool]:
        """The looks that a run folder records, and whether an earlier version judged it.

        An earlier version recorded no looks. Its `verdict.csv` counts as one, without verdicts.

        Raises:
            InputError: a table is damaged.
        """
        if run.table(LOOKS).is_file():
            return cls(map(_look, rows_of(read_table(run.table(LOOKS))))), False
        if not (run.table("verdict.csv").is_file() and run.table("confirm.csv").is_file()):
            return cls(), False
        rows = rows_of(read_table(run.table("verdict.csv")))
        runs = read_table(run.table("confirm.csv"))
        placements = dict(zip(runs["arm"], runs["placement"], strict=True))
        looks = [
            Look(row["placement"], placements[row["versus"]], row["n"], "inconclusive", 1.0)
            for row in rows
            if row["n"] >= FEWEST_SEEDS and row["versus"] in placements
        ]
        return cls(looks), bool(rows)

    def write(self, run: RunFolder) -> None:
        """Write `looks.csv`."""
        rows = [vars(look) for looks in self._looks.values() for look in looks]
        write_table(run.table(LOOKS), rows)

    def add(self, look: Look) -> None:
        """Record a look. A second one at the same number of seeds replaces the first."""
        known = self._looks[frozenset((look.placement, look.versus))]
        known[:] = [*(earlier for earlier in known if earlier.n != look.n), look]

    def number(self, placement: str, versus: str, n: int) -> int:
        """Which look at this pair one at n seeds is: 1 is the first."""
        return 1 + sum(look.n < n for look in self._of(placement, versus))

    def level(self, placement: str, versus: str, n: int) -> float:
        """The level of a look at this pair at n seeds (`level_of`)."""
        before = [look.n for look in self._of(placement, versus) if look.n < n]
        return level_of(n, max(before, default=None))

    def standing(self, placement: str, versus: str, difference: float, margin: float) -> Verdict:
        """What earlier looks have shown of `placement` against `versus`, and what still holds.

        Args:
            difference: of now. A verdict that it contradicts does not hold.
            margin: of equivalence now. Equivalence within a larger margin does not hold.
        """
        for look in reversed(self._of(placement, versus)):
            same_way = look.placement == placement
            verdict = look.verdict if same_way else _OPPOSITE.get(look.verdict, look.verdict)
            if verdict == "equivalent" and look.margin <= margin and abs(difference) < margin:
                return verdict
            if verdict == ("better" if difference > 0 else "worse"):
                return verdict
        return "inconclusive"

    def _of(self, placement: str, versus: str) -> list[Look]:
        return self._looks.get(frozenset((placement, versus)), [])


def _look(row: Mapping[str, Any]) -> Look:
    verdict: Any = row["verdict"]
    if verdict not in ("better", "worse", "equivalent", "inconclusive"):
        raise InputError(f"{LOOKS} has the verdict {verdict!r:.40}; the run folder is damaged")
    return Look(row["placement"], row["versus"], row["n"], verdict, row["margin"])
