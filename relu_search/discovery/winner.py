"""The model that a confirmation has decided on: which one it is, and its export."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relu_search.analysis.leaderboard import rows_of
from relu_search.confirmation.arms import PAIRED
from relu_search.confirmation.confirm import settled_training
from relu_search.confirmation.trainings import RUNS, weights_file
from relu_search.confirmation.verdict_table import answer_of, sentence_of
from relu_search.export.card import CARD, read_card
from relu_search.export.from_run import data_facts, export_training
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.running.devices import Say


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The model of a discovery.

    Attributes:
        arm: of the confirmation, such as `trial 17`, `2:1` or `paired`.
        placement: its text.
        is_better: whether it is confirmed to be better than paired; else it is paired.
        seed: of the training whose model is exported.
        card: path of the exported `card.json`.
    """

    arm: str
    placement: str
    is_better: bool
    seed: int
    card: Path


def better_arm(
    verdicts: Sequence[Mapping[str, Any]], config: ResolvedConfig
) -> Mapping[str, Any] | None:
    """The row of the best arm that is better than paired and within the ReLU limits, or None.

    Of several, it is the one with the highest mean validation accuracy on the fresh seeds: test
    scores that chose an arm would be too good for it.
    """
    most = math.inf if config.max_relus is None else config.max_relus
    better = [
        row
        for row in verdicts
        if row["versus"] == PAIRED
        and row["verdict"] == "better"
        and config.min_relus <= row["relus"] <= most
    ]
    return max(better, key=lambda row: row["confirmed_val_accuracy"] or 0.0, default=None)


def export_winner(
    run: RunFolder, config: ResolvedConfig, verdicts: Sequence[Mapping[str, Any]], say: Say
) -> Winner:
    """Export the confirmed winner, or paired, into the folder `winner` of the run.

    Of its trainings, the one with the highest validation accuracy is exported.

    Args:
        config: of the run, with a backbone that may be built.
        verdicts: rows of `verdict.csv`; empty: nothing is confirmed.
        say: is told the progress of reading the data.

    Raises:
        InputError: no training of it has ended.
    """
    row = better_arm(verdicts, config)
    placement = config.network.paired.text if row is None else row["placement"]
    trained = [
        one
        for one in rows_of(read_table(run.table(RUNS)))
        if one["placement"] == placement and one["state"] == "COMPLETE"
    ]
    if not trained:
        raise InputError(
            f"no training of {PAIRED if row is None else row['arm']} has ended in {run.path}, so "
            "no model is exported; give a longer budget with --resume"
        )
    best = max(trained, key=lambda one: one["val_accuracy"])
    winner = Winner(
        arm=best["arm"],
        placement=placement,
        is_better=row is not None,
        seed=best["seed"],
        card=run.winner / CARD,
    )
    weights = weights_file(run, placement, winner.seed)
    if weights.is_file() or not _is_exported(winner):  # `runs --clean` may have removed them
        _export(run, config, best, weights, say)
    return winner


def _is_exported(winner: Winner) -> bool:
    if not winner.card.is_file():
        return False
    card = read_card(winner.card)
    seed = (card["training"] or {}).get("seed")
    return (card["placement"], seed) == (winner.placement, winner.seed)


def _export(
    run: RunFolder, config: ResolvedConfig, row: Mapping[str, Any], weights: Path, say: Say
) -> None:
    """Export the training of a row of `confirm.csv`."""
    recipe, deterministic = settled_training(run, config)
    trained_as = replace(
        config,
        recipe=recipe,
        epochs=recipe.epochs,
        precision=recipe.precision,
        deterministic=deterministic,
    )
    export_training(
        run,
        trained_as,
        row,
        run.winner,
        weights=weights,
        data=data_facts(config.load_splits((row["seed"],), say).of(row["seed"])),
    )


def answer_lines(verdicts: Sequence[Mapping[str, Any]], winner: Winner) -> list[str]:
    """What a discovery found, in sentences; the last one says which model it has exported."""
    own = [sentence_of(row) for row in verdicts if row["arm"] == winner.arm]
    if winner.is_better:
        name = f"{winner.arm} ({winner.placement})"
        lines = [f"The confirmed winner is {name}.", *own]
    elif verdicts:
        lines = [*answer_of(verdicts), "Nothing is confirmed to be better than paired."]
        name = f"{PAIRED}, the ordinary network"
    else:
        lines = ["The budget was too small for a verdict: nothing is confirmed."]
        name = f"{PAIRED}, the ordinary network"
    return [*lines, f"The model is {name}, trained with seed {winner.seed}: {winner.card.parent}"]
