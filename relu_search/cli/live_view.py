"""Progress of a search: a live panel on a terminal, elsewhere one line per finished trial."""

from __future__ import annotations

import time
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from relu_search.analysis.leaderboard import STATE_WORDS, is_control
from relu_search.run_folder.study import COSTS_ATTRIBUTE, history_of
from relu_search.settings.metrics import METRICS, MetricName
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics


class LiveView:
    """Shows a search on a console; a `SearchListener` and a context manager.

    Args:
        console: where to draw; stderr, so that stdout stays for results. It must not read markup.
        headline: printed once, when the first trial starts.
        trials: budget of the search; None: only time limits it.
        epochs: full length of a trial.
        metric: what the search optimises.
        floor: least value of the metric; the best trial is then the cheapest one above it.
        earlier: trials of the budget that were finished before, on a resume.
        seconds: that the search may take from now; None: there is no limit.
    """

    def __init__(
        self,
        console: Console,
        *,
        headline: str,
        trials: int | None,
        epochs: int,
        metric: MetricName,
        floor: float | None = None,
        earlier: int = 0,
        seconds: float | None = None,
    ) -> None:
        self._console = console
        self._headline: str | None = headline
        self._trials = trials
        self._epochs = epochs
        self._metric: MetricName = metric
        self._floor = floor
        self._earlier = earlier
        self._seconds = seconds
        self._began = time.monotonic()
        self._counts = dict.fromkeys(STATE_WORDS, 0)
        self._running: dict[int, tuple[Proposal, EpochMetrics | None]] = {}
        self._best: tuple[float, FrozenTrial] | None = None
        self._live = Live(console=console, get_renderable=self._panel, refresh_per_second=4)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def started(self, proposal: Proposal) -> None:
        if self._headline is not None:
            self._console.print(self._headline, soft_wrap=True)
            self._headline = None
            if self._console.is_terminal:
                self._live.start()
        self._running[proposal.number] = (proposal, None)

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._running[number] = (self._running[number][0], metrics)

    def finished(self, trial: FrozenTrial) -> None:
        self._running.pop(trial.number, None)
        self._counts[trial.state.name] += 1
        if trial.state == TrialState.COMPLETE:
            last = history_of(trial)[-1][self._metric]
            value = METRICS[self._metric].sign * last
            found = not is_control(trial.user_attrs["module"])
            if self._floor is not None:
                found, value = last >= self._floor, -trial.user_attrs[COSTS_ATTRIBUTE][0]
            if found and (self._best is None or value > self._best[0]):
                self._best = (value, trial)
        if not self._console.is_terminal:
            done = self._earlier + sum(self._counts.values())
            time_left = "" if self._seconds is None else f"{self._time_left(done)}  "
            line = f"{self._counted(done)}  {time_left}{_summary(trial)}"
            self._console.print(line, soft_wrap=True)

    def _panel(self) -> Group:
        done = self._earlier + sum(self._counts.values())
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=1, completed=self._share(done), width=30),
            f"{self._counted(done)} trials",
            f"{self._counts['PRUNED']} stopped early",
            f"{self._counts['FAIL']} failed",
            f"{len(self._running)} running",
            self._time_left(done),
        )
        best = "best so far: none yet"
        if self._best is not None:
            best = f"best so far: {_summary(self._best[1])}"
        rows = Table.grid(padding=(0, 2))
        for number, (proposal, metrics) in sorted(self._running.items()):
            epoch = metrics.epoch if metrics else 0
            score = f"val acc {metrics.val_accuracy:.1%}" if metrics else "starting"
            rows.add_row(
                f"  trial {number}",
                f"epoch {epoch}/{self._epochs}",
                score,
                proposal.spec.placement.text,
            )
        return Group(head, best, rows)

    def _counted(self, done: int) -> str:
        return str(done) if self._trials is None else f"{done}/{self._trials}"

    def _share(self, done: int) -> float:
        """The share of the budget that is spent, of trials or of time."""
        of_trials = 0.0 if self._trials is None else done / self._trials
        if not self._seconds:
            return of_trials
        return max(of_trials, min(1.0, (time.monotonic() - self._began) / self._seconds))

    def _time_left(self, done: int) -> str:
        """By the trials so far, and at most what the time budget leaves."""
        spent, here = time.monotonic() - self._began, done - self._earlier
        limits = [] if self._seconds is None else [max(0.0, self._seconds - spent)]
        if here and self._trials is not None:
            limits.append(spent / here * (self._trials - done))
        if not limits:
            return "time left: ?"
        hours, seconds = divmod(int(min(limits)), 3600)
        minutes = f"{seconds // 60}:{seconds % 60:02d}"
        return f"time left: {hours}:{minutes:0>5}" if hours else f"time left: {minutes}"


def _summary(trial: FrozenTrial) -> str:
    history = history_of(trial)
    name = trial.user_attrs["module"] or trial.user_attrs["placement"]
    score = f"val acc {history[-1]['val_accuracy']:.1%}" if history else "no epoch finished"
    reason = f" ({trial.user_attrs['reason']})" if "reason" in trial.user_attrs else ""
    return (
        f"trial {trial.number}  {name}  {score}  epoch {len(history)}  "
        f"{STATE_WORDS[trial.state.name]}{reason}"
    )
