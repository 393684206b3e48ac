"""What the page of a report says, as plain data. The markup is in `page.html.j2`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from relu_search.analysis.answer import answer_lines, best_drawing
from relu_search.analysis.early_stops import SIGNAL_NAMES, early_stopping_text
from relu_search.analysis.estimates import estimate_text, estimates, full_length
from relu_search.analysis.leaderboard import (
    admitted,
    caveat,
    leaderboard,
    leaderboard_note,
    ranked,
    rows_of,
)
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.confirmation.looks import OLD_VERDICTS
from relu_search.confirmation.verdict_table import answer_of, floor_answer, verdict_words
from relu_search.ratios.best_ratio import COLUMNS, BestRatio, best_ratio
from relu_search.report.confirmation_figures import points, rows_against
from relu_search.report.page_figures import references
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import DECIDED, WEIGHTS
from relu_search.settings.metrics import cost_text
from trials.early_stopping.rung_evidence import RungEvidence
from trials.running.time_budget import OUT_OF_TIME

_HOW_TO_READ = (
    "A search makes a short list. It trains each placement once or a few times, and the luckiest "
    "of many equal placements looks better than it is. So placements are ranked by the model's "
    "estimate (mean ± 1 sd): a model of all runs moves a lucky run towards the results of similar "
    "placements. Only a confirmation on fresh seeds and test images decides.",
    "A placement is written as one bit per ReLU site in forward order: 1 is kept, 0 is dropped. "
    "*n repeats and + joins: 01*3+1*4 is 0101011111.",
    "A ratio N:M counts the convolutions (N) and the kept ReLUs (M) in the blocks. Stem, "
    "projections and final ReLU are not counted.",
    "Trials that were stopped early trained for fewer epochs. They are never compared with "
    "full-length trials.",
    "The all-linear control keeps no ReLU in the blocks. If it leads, the training is too short, "
    "or the data are too easy, to tell placements apart.",
)
_HOW_TO_READ_VERDICTS = (
    "Better or worse: the arm differs from the reference. Equivalent: the difference lies within "
    "the margin. Inconclusive: neither is shown yet. All comparisons are corrected together, and "
    "seeds may be added: at most 5 % of confirmations contain any false verdict.",
    "All arms have the same seeds, so differences are taken seed by seed. All numbers of a verdict "
    "are measured on test images, which the search has not seen.",
)
_VERDICT_COLUMNS = (
    *("arm", "ratio", "ReLUs", "n", "mean ± sd (%)", "difference", "95 % t", "95 % BCa"),
    "verdict",
)


@dataclass(frozen=True)
class Statement:
    """A paragraph: text, then bold text, then more text, then a command to run."""

    text: str
    strong: str = ""
    rest: str = ""
    command: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table; the first cell of a row names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: list[list[str]]


@dataclass(frozen=True)
class PageContent:
    """All text of the page, in the order of the page.

    Attributes:
        title: of the page.
        answer: the result: verdicts if there are any, else the best of the search.
        note: what early stopping did; may be empty.
        verdicts: one table per reference; empty without a confirmation.
        shrinkage: one line per confirmed placement: search result against fresh seeds.
        best: name and drawing of the best placement of the search; None while there is none.
        leaderboard: of the search.
        ratios: which ratio is the best one; None if the search cannot tell anything of it.
        caveat: how noisy the leaderboard is.
        facts: names and values of what was searched.
        advice: how to read the page.
    """

    title: str
    answer: list[Statement]
    note: str
    verdicts: list[PageTable]
    shrinkage: list[str]
    best: tuple[str, str] | None
    leaderboard: PageTable
    ratios: PageTable | None
    caveat: str
    facts: list[tuple[str, str]]
    advice: list[str]


def page_content(
    tables: RunSnapshot, evidence: Mapping[int, RungEvidence], *, is_old: bool = False
) -> PageContent:
    """What the page says of a run.

    Args:
        tables: of the run.
        evidence: of `early_evidence`.
        is_old: whether an earlier version judged the run, so that `tables` has verdicts by the
            present rule and not those of the file.
    """
    config, trials, verdicts = tables.config, tables.trials, tables.verdicts
    images = int(tables.record["data"]["validation_images"])
    columns, rows = leaderboard(trials, config.optimised)
    start = "" if config.weights is None else config.start_text
    board = PageTable(
        f"Validation results{start and f', {start}'}; means over full-length seeds. All "
        "hand-designed modules and the best found placements, ranked by the estimate; "
        f"{leaderboard_note(trials)}",
        _name_first(columns),
        [list(_name_first(cells)) for _, cells in rows],
    )
    return PageContent(
        title=f"relu-search: {config.network.name} on {config.data}{start and f', {start}'}",
        answer=list(
            _search_answer(tables)
            if verdicts is None
            else _verdict_answer(verdicts, is_old, tables.run)
        ),
        note="" if verdicts is None else early_stopping_text(trials, evidence, config),
        verdicts=[] if verdicts is None else list(_verdict_tables(verdicts, start)),
        shrinkage=[] if verdicts is None else list(_shrinkage(verdicts)),
        best=best_drawing(trials, config),
        leaderboard=board,
        ratios=None if (ratios := best_ratio(trials, config)) is None else _ratio_table(ratios),
        caveat=caveat(trials, config, images),
        facts=list(_facts(tables)),
        advice=[*_HOW_TO_READ, *(() if verdicts is None else _HOW_TO_READ_VERDICTS)],
    )


def _ratio_table(found: BestRatio) -> PageTable:
    return PageTable(
        f"{found.sentence()} P(best): probability that the best placement tried has this ratio. "
        "Estimate and interval are those of the best placement of the ratio.",
        COLUMNS,
        found.cells(),
    )


def _name_first(cells: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Leaderboard cells with the placement, which names the row, before the rank."""
    rank, name, *rest = cells
    return (name, rank, *rest)


def _verdict_answer(verdicts: pd.DataFrame, is_old: bool, run: RunFolder) -> Iterator[Statement]:
    first, *others = answer_of(rows_of(verdicts))
    yield Statement("", first)
    yield from map(Statement, [*others, *floor_answer(run)])
    if is_old:
        yield Statement(OLD_VERDICTS)


def _search_answer(tables: RunSnapshot) -> Iterator[Statement]:
    """The best of the search; every number of a placement is its estimate."""
    config, trials = tables.config, tables.trials
    metric = config.optimised
    known = estimates(trials, metric)

    def value(placement: str) -> str:
        return f"{metric.title} {estimate_text(known, placement, metric)}"

    finished, budget = len(trials), config.trials
    is_open = config.time_limit is None and DECIDED not in tables.record
    if budget is not None and is_open and finished < budget:
        yield Statement(f"{finished} of {budget} trials are finished; the results may change.")
    whole = full_length(trials, metric)
    if config.at_least_accuracy is None:
        candidates = admitted(ranked(whole, metric), config)
        if candidates.empty:
            yield Statement("No trial within the ReLU limits has trained to the end yet.")
            return
        yield from _best_found(candidates, value)
    for placement in whole.loc[whole["module"] == "paired", "placement"].unique():
        yield Statement(f"Paired, every ReLU kept: {value(placement)}.")
    supernet = tables.run.read_supernet()
    for line in answer_lines(trials, tables.epochs, config, supernet, tables.record):
        if not line.startswith("WARNING"):
            yield Statement(line)
    yield Statement(
        "Each placement has few seeds and was chosen among many: this is a short list, not a "
        "verdict. To decide, run ",
        command=f"relu-search confirm {shlex.quote(str(tables.run.path))}",
    )


def _best_found(candidates: pd.DataFrame, value: Callable[[str], str]) -> Iterator[Statement]:
    """The best of the ranked candidates, and a hand-designed module that is ahead of it."""
    best = rows_of(candidates.head(1))[0]
    # Not `best_trial` of the found ones: without the modules, their estimates would be others.
    found = rows_of(candidates[candidates["module"] == ""].head(1))
    chosen = found[0] if found else best
    relus = cost_text("relus", chosen["relus"])
    yield Statement(
        "Best placement found: " if found else "Nothing found yet; best hand-designed module: ",
        chosen["placement"] if found else best["module"],
        f" ({chosen['ratio']}, {relus}): {value(chosen['placement'])}.",
    )
    if best["module"] and found:
        yield Statement(
            f"The hand-designed module {best['module']} is ahead: {value(best['placement'])}."
        )


def _verdict_tables(verdicts: pd.DataFrame, start: str) -> Iterator[PageTable]:
    for versus in references(verdicts):
        yield PageTable(
            f"Test accuracy on fresh seeds{start and f', {start},'} against {versus}. n: seeds in "
            "common; difference: mean "
            "difference, seed by seed, in percentage points, with its 95 % interval by Student's t "
            "and by the BCa bootstrap. verdict.csv has every p value and effect size.",
            _VERDICT_COLUMNS,
            [_verdict_cells(row) for row in rows_against(verdicts, versus)],
        )


def _verdict_cells(row: dict[str, Any]) -> list[str]:
    return [
        row["arm"] if row["arm"] == row["placement"] else f"{row['arm']} ({row['placement']})",
        row["ratio"],
        f"{row['relus']:.0f}",
        f"{row['n']:.0f}",
        f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}",
        points(row["difference"]),
        f"[{points(row['t_low'])}, {points(row['t_high'])}]",
        f"[{points(row['bca_low'])}, {points(row['bca_high'])}]",
        verdict_words(row),
    ]


def _shrinkage(verdicts: pd.DataFrame) -> Iterator[str]:
    known = verdicts.dropna(subset=["search_accuracy", "confirmed_val_accuracy"])
    for row in known.drop_duplicates("arm").to_dict("records"):
        before, after = 100 * row["search_accuracy"], 100 * row["confirmed_val_accuracy"]
        words = f"{abs(after - before):.1f} points {'lower' if after < before else 'higher'}"
        yield (
            f"{row['arm']}: {before:.1f} % in the search, {after:.1f} % on fresh seeds: "
            f"{words if abs(after - before) >= 0.05 else 'no change'} (validation images)."
        )


def _facts(tables: RunSnapshot) -> Iterator[tuple[str, str]]:
    config, record, data = tables.config, tables.record, tables.record["data"]
    states = tables.trials["state"].value_counts()
    by_time = int((tables.trials["reason"] == OUT_OF_TIME).sum())
    height, width = data["image_size"]
    yield "Run folder", str(tables.run.path)
    yield "Backbone", config.network.label
    yield "Data", config.data
    yield "Images", f"{data['train_images']:,} training, {data['validation_images']:,} validation"
    yield "Image size", f"{data['in_channels']} x {height} x {width}"
    yield "Classes", f"{len(data['classes'])}: {_first([str(c) for c in data['classes']])}"
    recipe = config.training_recipe
    repeats = ", deterministic" if config.deterministic else ""
    yield "Training", f"recipe {recipe.text}, {recipe.epochs} epochs, {recipe.precision}{repeats}"
    digest = f" (SHA-256 {record[WEIGHTS]})" if WEIGHTS in record else ""
    yield "Start of a training", config.start_text + digest
    yield "Budget", config.budget_text
    yield (
        "Finished",
        f"{states.get('COMPLETE', 0)} full length, {states.get('PRUNED', 0)} stopped early"
        + (f" ({by_time} of them by the time budget)" if by_time else "")
        + f", {states.get('FAIL', 0)} failed",
    )
    yield (
        "Early stopping",
        f"ASHA by {SIGNAL_NAMES[config.stop_on]}, not before epoch {config.grace_epochs}",
    )
    yield "Granularity", config.granularity
    yield "Search space", f"{record.get('space_size', 'unknown')} placements"
    limit = "" if config.max_relus is None else f", at most {config.max_relus}"
    yield "ReLU limits", f"at least {config.min_relus}{limit}"
    yield "Sampler and metric", f"{config.sampler}, {config.metric}"
    if config.objective is not None:
        floor = config.at_least_accuracy
        yield "Objectives", config.objective + (f", accuracy at least {floor:.1%}" if floor else "")
    yield "Seed", str(config.seed)
    yield "Split digest", str(data["split_digest"])
    versions = record.get("versions", {})
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _first(names: list[str], limit: int = 12) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
