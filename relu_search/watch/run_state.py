"""What a run folder says at one moment. It only reads, and takes no lock."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from relu_search.analysis.leaderboard import best_trial, rows_of
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.confirmation.verdict_table import answer_of, stored_verdicts
from relu_search.many_runs.run_list import is_free, is_spent
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import COLUMNS, read_table
from relu_search.run_folder.time_spent import time_spent
from search_spaces import InputError, Placement, ratio_text
from trials.files.locks import is_locked

FILES = (
    *("config.toml", "trials.csv", "epochs.csv", "events.csv", "time.toml", "verdict.csv"),
    *("confirm.csv", "looks.csv"),
)
"""Files of a run that a page shows."""
_LATEST = 1e11  # seconds since 1970: the year 5138
State = Literal["running", "ended", "interrupted"]
Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, kw_only=True)
class OpenTrial:
    """A trial that has started and not ended.

    Attributes:
        trial: its number.
        name: of the placement, or its text.
        placement: its text; empty in a run of an earlier version, which did not record it.
        ratio: of convolutions to ReLUs.
        last: row of `epochs.csv` of its last finished epoch; None before the first one.
        since: when this process started it, in seconds since 1970; None: not recorded.
    """

    trial: int
    name: str
    placement: str
    ratio: str
    last: dict[str, Any] | None
    since: float | None


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The tables of a run, and whether a process is at work in it.

    Attributes:
        tables: as a report reads them, but possibly without a trial.
        events: `events.csv`.
        at_work: whether a process of this machine holds the lock of the folder.
        is_spent: whether the budget of the search is used up.
        spent: seconds of its time budget that are recorded.
        changed: when its files last changed, in seconds since 1970.
        confirmed: trainings of a confirmation that have ended.
        verdicts: the answer of a confirmation in sentences; empty without one.
    """

    tables: RunSnapshot
    events: pd.DataFrame
    at_work: bool
    is_spent: bool
    spent: float
    changed: float
    confirmed: int
    verdicts: list[str]

    @classmethod
    def read(cls, run: RunFolder) -> RunState:
        """The state of a run folder.

        Raises:
            InputError: the folder is damaged.
        """
        changed = max((about[0] for about in signature(run) if about is not None), default=0) / 1e9
        at_work = is_at_work(run)
        config, record = run.read_config()
        tables = {name: _table(run, name) for name in ("trials.csv", "epochs.csv", "events.csv")}
        trials, events = tables["trials.csv"], tables["events.csv"]
        for placement in {*trials["placement"], *events["placement"]} - {""}:
            config.network.check(Placement.parse(placement))
        if not events["time"].astype(float).between(0, _LATEST).all():
            raise InputError(
                f"{run.table('events.csv')} has an event at no possible time; the run folder is "
                "damaged"
            )
        epochs = tables["epochs.csv"].drop_duplicates(["trial", "epoch"], keep="last")
        verdicts, _ = stored_verdicts(run)
        return cls(
            tables=RunSnapshot(run, config, record, trials, epochs, None, None),
            events=events,
            at_work=at_work,
            is_spent=is_spent(run, config, trials["seconds"].astype(float).tolist()),
            spent=time_spent(run.path, "search"),
            changed=changed,
            confirmed=len(_table(run, "confirm.csv")),
            verdicts=answer_of(verdicts),
        )

    @property
    def state(self) -> State:
        if self.is_spent:
            return "ended"
        return "running" if self.at_work else "interrupted"

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """Row of the best trial; None: there is none yet."""
        return best_trial(self.tables.trials, self.tables.config)

    @cached_property
    def open_trials(self) -> list[OpenTrial]:
        """Trials that the last process of the search has started and not ended."""
        trials, epochs = self.tables.trials, self.tables.epochs
        ended = set(trials["trial"])
        session = self._session
        started = session[session["event"] == "trial started"].drop_duplicates("trial", keep="last")
        known = {row["trial"]: row for row in rows_of(started) if row["trial"] is not None}
        numbers = known.keys() if len(self.events) else set(epochs["trial"])
        last = {row["trial"]: row for row in rows_of(epochs.drop_duplicates("trial", keep="last"))}
        return [
            self._open_trial(int(number), known.get(number), last.get(number))
            for number in sorted(numbers - ended)
        ]

    def _open_trial(
        self, number: int, started: dict[str, Any] | None, last: dict[str, Any] | None
    ) -> OpenTrial:
        text = "" if started is None else started["placement"]
        name, ratio = "not recorded", ""
        if text:
            placement, config = Placement.parse(text), self.tables.config
            name = config.name_of(placement) or text
            ratio = ratio_text(config.network, placement)
        since = None if started is None else started["time"]
        return OpenTrial(
            trial=number, name=name, placement=text, ratio=ratio, last=last, since=since
        )

    @property
    def _session(self) -> pd.DataFrame:
        """The events of the last process of the search."""
        begins = self.events["event"].isin(["search begun", "search resumed"]).to_numpy()
        return self.events.iloc[begins.nonzero()[0][-1] :] if begins.any() else self.events

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the search has probably ended; None: it cannot be told yet.

        By the trials that this process has ended, and at most what the time budget leaves. In a
        run of an earlier version, by the seconds of all trials.
        """
        config, trials = self.tables.config, self.tables.trials
        limits = [] if config.time_limit is None else [max(0.0, config.time_limit - self.spent)]
        session = self._session
        ended = int((session["event"] == "trial ended").sum())
        if config.trials is not None:
            missing = config.trials - len(trials)
            if ended:
                limits.append((now - float(session["time"].iloc[0])) / ended * missing)
            elif session.empty and len(trials):
                seconds = float(trials["seconds"].mean())
                limits.append(seconds * missing / (config.concurrent or 1))
        return min(limits, default=None)


def signature(run: RunFolder) -> Signature:
    """Changes when a file that a page shows changes: when it did in ns, bytes, its number."""
    found: list[tuple[int, int, int] | None] = []
    for name in FILES:
        try:
            about = os.stat(run.path / name)
            found.append((about.st_mtime_ns, about.st_size, about.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def is_at_work(run: RunFolder) -> bool:
    """Whether a process works in a run folder; on Linux only one of this machine is seen."""
    try:
        return is_locked(run.path)
    except OSError:
        return not is_free(run.path)


def _table(run: RunFolder, name: str) -> pd.DataFrame:
    """A table; without rows if a search has not written it yet, or an earlier version never did."""
    file = run.table(name)
    if os.path.lexists(file):
        return read_table(file)
    return pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS[name]})


def moment(seconds: float) -> str:
    """Date and time of this machine: `2026-11-26 15:04:05`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
