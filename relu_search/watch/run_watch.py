"""The runs that a page follows, and the current parts of the page."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from threadpoolctl import threadpool_limits

from relu_search.many_runs.run_list import run_folders
from relu_search.run_folder.folder import RunFolder
from relu_search.watch.live_charts import live_charts
from relu_search.watch.page_parts import Filter, Rows, board, log, progress, running, stopped
from relu_search.watch.run_state import RunState, Signature, is_at_work, moment, signature
from search_spaces import InputError
from search_spaces.errors import printable
from trials.files.paths import user_path

_IDLE = 9
"""A folder is read again only after this multiple of the time that the last reading took."""
_MOST_FILTERS = 20
"""Filters whose parts are kept until the folder changes."""
_LISTED = 1.0
"""Seconds that one look at a list of runs may take; the next look reads the others."""
_BOARD = "One row for each placement, best first; seeds: trained to full length + stopped early."


@dataclass(frozen=True)
class Part:
    """A part of a page.

    Attributes:
        title: a few words.
        content: HTML; of a chart, its figure as JSON text.
        note: a sentence above the content; may be empty.
        is_chart: whether it is a chart.
    """

    title: str
    content: str
    note: str = ""
    is_chart: bool = False

    @property
    def version(self) -> str:
        """Differs between different parts."""
        return hashlib.sha256(
            "\n".join((self.title, self.note, self.content)).encode()
        ).hexdigest()[:16]


class RunWatch:
    """One run: reads its folder again when a file has changed.

    Attributes:
        run: its folder.
        key: names it in addresses.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.key = hashlib.sha256(os.fsencode(run.path.absolute())).hexdigest()[:12]
        self._state: RunState | None = None
        self._problem = ""
        self._read: tuple[Signature, bool] | None = None
        self._next = 0.0
        self._made: dict[str, dict[str, Part]] = {}
        self._one = threading.Lock()

    def is_read(self) -> bool:
        """Whether the folder was read before."""
        return self._read is not None

    def state(self) -> tuple[RunState | None, str]:
        """The last state that could be read, and what is wrong with the folder now, if anything."""
        with self._one:
            self._refresh()
            return self._state, self._problem

    def parts(self, text: str) -> dict[str, Part]:
        """The parts of the page, with the rows that a filter admits."""
        with self._one, threadpool_limits(1):  # trainings need the other cores
            self._refresh()
            state, now = self._state, time.time()
            live = None if state is None else progress(state, now)
            head = Part("Progress", _html("progress", problem=self._problem, progress=live))
            if state is None:
                return {"progress": head}
            if text not in self._made:
                if len(self._made) >= _MOST_FILTERS:
                    self._made.clear()
                self._made[text] = dict(_lasting_parts(state, Filter(text)))
            return {
                "progress": head,
                "running": _table(
                    "Not finished" if state.state == "interrupted" else "Running now",
                    running(state, Filter(text), now),
                ),
                **self._made[text],
            }

    def _refresh(self) -> None:
        begun = time.monotonic()
        found = signature(self.run), is_at_work(self.run)
        if found == self._read or begun < self._next:
            return
        try:
            self._state, self._problem = RunState.read(self.run), ""
        except InputError as error:
            self._problem = str(error)
        self._read, self._made = found, {}
        ended = time.monotonic()
        self._next = ended + _IDLE * (ended - begun)


def _lasting_parts(state: RunState, wanted: Filter) -> Iterator[tuple[str, Part]]:
    """The parts that change only with the folder."""
    yield "board", _table("Leaderboard", board(state, wanted), note=_BOARD)
    for chart in live_charts(state, wanted):
        figure = json.dumps(dict(chart.plotly), allow_nan=False)
        yield chart.name, Part(chart.title, figure, chart.sentence, is_chart=True)
    yield "stopped", _table("Stopped and failed", stopped(state, wanted))
    yield "log", _table("Events", log(state, wanted))


def _table(title: str, rows: Rows, note: str = "") -> Part:
    return Part(title, _html("table", table=rows), note)


class FolderWatch:
    """A run, or a folder with runs.

    Attributes:
        path: the folder.
        single: the run, if the folder is one.

    Raises:
        InputError: no such folder.
    """

    def __init__(self, folder: str) -> None:
        self.path = user_path(folder)
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} is not a folder; give a run, or a folder with runs such as runs"
            )
        self._known: dict[Path, RunWatch] = {}
        self._one = threading.Lock()
        run = RunFolder(self.path)
        self.single = RunWatch(run) if run.is_run() else None

    def runs(self) -> list[RunWatch]:
        """The runs that the folder has now."""
        if self.single is not None:
            return [self.single]
        with self._one:
            paths = [run.path for run in run_folders(self.path)]
            self._known = {
                path: self._known.get(path) or RunWatch(RunFolder(path)) for path in paths
            }
            return list(self._known.values())

    def find(self, key: str) -> RunWatch | None:
        """The run of this key; None: there is none."""
        return next((one for one in self.runs() if one.key == key), None)

    def parts(self, text: str) -> dict[str, Part]:
        """The list of the runs, with those that a filter admits; the last changed one first."""
        wanted, end = Filter(text), time.monotonic() + _LISTED
        rows = []
        with threadpool_limits(1):
            for one in self.runs():
                may_read = one.is_read() or time.monotonic() < end
                state, problem = one.state() if may_read else (None, "not read yet")
                row = _run_row(one, self.path, state, problem)
                if wanted.admits(*row["cells"]):
                    rows.append(row)
        rows.sort(key=lambda row: row["changed"], reverse=True)
        return {"runs": Part("Runs", _html("runs", rows=rows, has_filter=bool(wanted.words)))}


def _run_row(one: RunWatch, folder: Path, state: RunState | None, problem: str) -> dict[str, Any]:
    name = str(one.run.path.relative_to(folder))
    if state is None or problem:
        return {"key": one.key, "changed": 0.0, "state": "", "cells": [name, problem, *[""] * 4]}
    config, best = state.tables.config, state.best
    return {
        "key": one.key,
        "changed": state.changed,
        "state": state.state,
        "cells": [
            name,
            state.state,
            f"{config.network.label}, {config.data}",
            f"{len(state.tables.trials)} of {config.budget_text}",
            "" if best is None else f"{best['module'] or best['placement']} ({best['ratio']})",
            moment(state.changed),
        ],
    }


def page(template: str, **values: Any) -> str:
    """A whole page from a template of this room."""
    return _environment().get_template(template).render(**values)


def changes(parts: dict[str, Part], known: set[str]) -> str:
    """The parts whose versions are not known, as JSON.

    Returns:
        Name -> `version`, `title`, `note`, and `html` or `figure`.
    """
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if part.version not in known:
            shown = (
                {"figure": json.loads(part.content)} if part.is_chart else {"html": part.content}
            )
            found[name] = {"version": part.version, "title": part.title, "note": part.note} | shown
    return json.dumps(found, allow_nan=False)


def _html(macro: str, **values: Any) -> str:
    """A macro of `parts.html.j2` as HTML."""
    made: Callable[..., Markup] = getattr(
        _environment().get_template("parts.html.j2").module, macro
    )
    return str(made(**values))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("relu_search.watch", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Text with control characters escaped. Markup and other values stay as they are."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
