"""The verdicts that a run folder has, by the present rule."""

from __future__ import annotations

from typing import Any

from relu_search.analysis.leaderboard import rows_of
from relu_search.confirmation.arms import Arm
from relu_search.confirmation.looks import Looks
from relu_search.confirmation.verdict_table import verdict_rows
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table
from search_spaces import Placement


def stored_verdicts(run: RunFolder) -> tuple[list[dict[str, Any]], bool]:
    """Rows of `verdict.csv`, and whether an earlier version judged the run.

    The runs of an earlier version are judged again by the present rule. Nothing is written.

    Raises:
        InputError: a table is damaged.
    """
    if not run.table("verdict.csv").is_file():
        return [], False
    rows = rows_of(read_table(run.table("verdict.csv")))
    looks, is_old = Looks.read(run)
    if not is_old:
        return rows, False
    runs = read_table(run.table("confirm.csv"))
    searched = {row["arm"]: row["search_accuracy"] for row in rows}
    arms = [
        Arm(
            name=row["arm"],
            origin=row["origin"],
            placement=Placement.parse(row["placement"]),
            ratio=row["ratio"],
            search_trial=row["search_trial"],
            search_accuracy=searched.get(row["arm"]),
        )
        for row in rows_of(runs.drop_duplicates("arm"))
    ]
    dropped = {row["arm"]: int(row["dropped_after"]) for row in rows if row["dropped_after"]}
    return verdict_rows(
        runs, arms, margin=rows[0]["margin"], dropped_after=dropped, looks=looks
    ), True
