"""What the parts of a page show, as plain data. The markup is in `parts.html.j2`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relu_search.analysis.early_stops import SIGNAL_NAMES
from relu_search.analysis.leaderboard import STATE_WORDS, is_control, leaderboard, rows_of
from relu_search.settings.limits import duration_text
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.watch.run_state import OpenTrial, RunState, moment
from trials.running.time_budget import OUT_OF_TIME

MOST_ROWS = 100
"""Rows of a table of the page; the filter finds the others."""
NONE_MATCHES = "No row has all words of the filter."
_STATES = {
    "running": "running",
    "ended": "ended: its budget is used up",
    "interrupted": "interrupted: no process of this machine works on it",
}


@dataclass(frozen=True)
class Rows:
    """A table of a part.

    Attributes:
        columns: their names; the second one names a row.
        rows: cells as text.
        more: rows that the filter admits and that are not shown.
        empty: what the part says without rows.
    """

    columns: tuple[str, ...]
    rows: list[list[str]]
    more: int
    empty: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        state: a key of the three states.
        words: the state in words.
        notes: further sentences.
        command: how to go on; may be empty.
        share: of the budget, 0 to 1; None: only time limits the search.
        facts: names and values.
    """

    state: str
    words: str
    notes: list[str]
    command: str
    share: float | None
    facts: list[tuple[str, str]]


class Filter:
    """Which rows a user wants to see: those that contain every word, in any case of letters."""

    def __init__(self, text: str) -> None:
        self.words = text.casefold().split()

    def admits(self, *texts: str) -> bool:
        row = " ".join(texts).casefold()
        return all(word in row for word in self.words)


def progress(state: RunState, now: float) -> Progress:
    """How far the search is at this moment, in seconds since 1970."""
    config, trials = state.tables.config, state.tables.trials
    counts = trials["state"].value_counts()
    done = f"{len(trials)}" if config.trials is None else f"{len(trials)} of {config.trials}"
    facts = [("trials", done), ("stopped early", str(counts.get("PRUNED", 0)))]
    facts += [("failed", str(counts.get("FAIL", 0)))]
    notes, command = list(state.verdicts), ""
    if state.state == "running":
        facts.append(("running", str(len(state.open_trials))))
        seconds = state.seconds_left(now)
        facts.append(("time left", "not known yet" if seconds is None else duration_text(seconds)))
    elif state.at_work:
        notes.append("A process is at work in the folder, such as relu-search confirm.")
    elif state.state == "interrupted":
        command = f"relu-search search --resume {shlex.quote(str(state.tables.run.path))}"
        if config.network.code:  # it runs only if it is named again
            command += f" --backbone {shlex.quote(config.network.code)}"
    if state.confirmed and not state.verdicts:
        notes.append(f"Trainings of a confirmation that have ended: {state.confirmed}.")
    if state.best is not None:
        name = state.best["module"] or state.best["placement"]
        facts.append(("best so far", f"{name} ({state.best['ratio']})"))
    facts.append(("last change", moment(state.changed)))
    share = None if not config.trials else min(1.0, len(trials) / config.trials)
    if config.time_limit is not None:
        share = max(share or 0.0, min(1.0, state.spent / config.time_limit))
    return Progress(
        state=state.state,
        words=_STATES[state.state],
        notes=notes,
        command=command,
        share=1.0 if state.is_spent else share,
        facts=facts,
    )


def running(state: RunState, wanted: Filter, now: float) -> Rows:
    """The trials that are running; of an interrupted search those that were."""
    found = [one for one in state.open_trials if wanted.admits(one.name, one.ratio, "running")]
    rows = [_open_cells(one, state.tables.config) for one in found]
    columns: tuple[str, ...] = ("trial", "placement", "ratio", "epoch", "validation accuracy")
    if state.state == "running":
        columns = (*columns, "for")
        for cells, one in zip(rows, found, strict=True):
            cells.append("-" if one.since is None else duration_text(max(0.0, now - one.since)))
    return Rows(columns, rows, 0, NONE_MATCHES if wanted.words else "Nothing is running.")


def _open_cells(one: OpenTrial, config: ResolvedConfig) -> list[str]:
    last = one.last or {}
    accuracy = last.get("val_accuracy")
    return [
        str(one.trial),
        one.name,
        one.ratio,
        f"{last.get('epoch', 0)} of {config.epochs}",
        "-" if accuracy is None else f"{accuracy:.1%}",
    ]


def board(state: RunState, wanted: Filter) -> Rows:
    """The leaderboard: one row for each placement."""
    trials, metric = state.tables.trials, state.tables.config.optimised
    if trials.empty:
        return Rows((), [], 0, "No trial has ended yet.")
    matching: set[str] = set()

    def is_wanted(row: dict[str, Any]) -> bool:
        names = (row["module"], row["placement"], row["ratio"], STATE_WORDS.get(row["state"], ""))
        if found := wanted.admits(*names, "control" if is_control(row["module"]) else ""):
            matching.add(row["placement"])
        return found

    columns, rows = leaderboard(trials, metric, most=MOST_ROWS, is_wanted=is_wanted)
    cells = [row for _, row in rows]
    return Rows(columns, cells, len(matching) - len(cells), NONE_MATCHES)


def stopped(state: RunState, wanted: Filter) -> Rows:
    """Trials that did not train to the end, and why; the latest first."""
    trials, config = state.tables.trials, state.tables.config

    def cells() -> Iterator[list[str]]:
        for row in reversed(rows_of(trials[trials["state"] != "COMPLETE"])):
            word, name = STATE_WORDS.get(row["state"], row["state"]), row["module"]
            shown = [str(row["trial"]), name or row["placement"], row["ratio"], word]
            yield [*shown, f"{row['epochs']} of {config.epochs}", _why(row, config)]

    columns = ("trial", "placement", "ratio", "state", "epoch", "why")
    return _shown(columns, cells(), wanted, "No trial was stopped, and none failed.")


def _why(row: dict[str, Any], config: ResolvedConfig) -> str:
    if row["reason"] == OUT_OF_TIME:
        return "the time budget"
    if row["state"] == "PRUNED":
        return f"early stopping by {SIGNAL_NAMES[config.stop_on]}"
    return str(row["reason"])


def log(state: RunState, wanted: Filter) -> Rows:
    """The events, the latest first."""
    config = state.tables.config
    ended = rows_of(state.tables.trials)
    ends = {row["trial"]: row for row in ended}
    names = {row["placement"]: _name(row["placement"], row) for row in ended}
    names |= {one.placement: f"{one.name} ({one.ratio})" for one in state.open_trials}

    def sentence(event: dict[str, Any]) -> str:
        name = names.get(event["placement"], event["placement"])
        if event["event"] == "trial ended":
            return f"{name}: {_end(ends.get(event['trial']), config)}"
        return f"{name}: {event['event'].removeprefix('trial ')}" if name else event["event"]

    def cells() -> Iterator[list[str]]:
        for event in reversed(rows_of(state.events)):
            trial = "" if event["trial"] is None else f"{event['trial']:.0f}"
            yield [moment(event["time"]), trial, sentence(event)]

    columns = ("time", "trial", "event")
    return _shown(columns, cells(), wanted, "This run has no events; an earlier version wrote it.")


def _name(placement: str, row: dict[str, Any]) -> str:
    return f"{row['module'] or placement} ({row['ratio']})"


def _end(row: dict[str, Any] | None, config: ResolvedConfig) -> str:
    """How a trial ended. There is no row if a kill came between, and it was trained again."""
    if row is None:
        return "ended"
    words, value = STATE_WORDS.get(row["state"], row["state"]), row[config.metric]
    if row["state"] == "FAIL":
        return f"{words}: {row['reason']}"
    metric = config.optimised
    return words if value is None else f"{words}, {metric.title} {metric.text(value)}"


def _shown(
    columns: tuple[str, ...], cells: Iterator[list[str]], wanted: Filter, empty: str
) -> Rows:
    found = [row for row in cells if wanted.admits(*row)]
    more = max(0, len(found) - MOST_ROWS)
    return Rows(columns, found[:MOST_ROWS], more, NONE_MATCHES if wanted.words else empty)
