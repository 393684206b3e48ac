"""Progress of a search: a live panel in a terminal or a notebook, elsewhere one line per trial."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.jupyter import JUPYTER_HTML_FORMAT
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from relu_search.analysis.leaderboard import STATE_WORDS, is_control
from relu_search.cli.console import headline
from relu_search.cli.plain_console import PlainConsole
from relu_search.run_folder.time_spent import time_spent
from relu_search.settings.metrics import cost_columns
from relu_search.trackers.listener import Ending, SearchListener

if TYPE_CHECKING:
    from relu_search.run_folder.folder import RunFolder
    from relu_search.settings.resolved_config import ResolvedConfig
    from trials.training.metrics import EpochMetrics


class LiveView(SearchListener):
    """Shows a search: a live panel in a terminal or notebook, elsewhere a line for each trial.

    ```python
    run_search(config, listeners=[LiveView()])
    ```

    Args:
        console: where to draw; None: stderr, or the output of a notebook. It must not read markup.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = PlainConsole(stderr=True) if console is None else console
        self._counts = dict.fromkeys(STATE_WORDS, 0)
        self._running: dict[int, tuple[Mapping[str, Any], EpochMetrics | None]] = {}
        self._best: tuple[float, Mapping[str, Any]] | None = None
        self._live: Live | NotebookPanel | None = None

    def began(self, run: RunFolder, config: ResolvedConfig) -> None:
        self._config = config
        self._earlier = run.count_trials()
        self._seconds: float | None = None
        if config.time_limit is not None:
            self._seconds = config.time_limit - time_spent(run.path, "search")
        self._began = time.monotonic()
        self._console.print(headline(config), soft_wrap=True)
        if self._console.is_jupyter:
            self._live = NotebookPanel(self._panel)
        elif self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._panel, refresh_per_second=4
            )
            self._live.start()

    def started(self, trial: Mapping[str, Any]) -> None:
        self._running[trial["trial"]] = (trial, None)
        self._refresh()

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._running[number] = (self._running[number][0], metrics)
        self._refresh()

    def finished(self, trial: Mapping[str, Any]) -> None:
        self._running.pop(trial["trial"], None)
        self._counts[trial["state"]] += 1
        if trial["state"] == "COMPLETE":
            metric = self._config.optimised
            value = metric.sign * trial[metric.name]
            found = not is_control(trial["module"])
            floor = self._config.at_least_accuracy
            if floor is not None:
                found = trial[metric.name] >= floor
                value = -trial[cost_columns(self._config.costs)[0]]
            if found and (self._best is None or value > self._best[0]):
                self._best = (value, trial)
        if self._live is None:
            done = self._earlier + sum(self._counts.values())
            time_left = "" if self._seconds is None else f"{self._time_left(done)}  "
            line = f"{self._counted(done)}  {time_left}{_summary(trial)}"
            self._console.print(line, soft_wrap=True)
        self._refresh()

    def ended(self, ending: Ending) -> None:
        if self._live is not None:
            self._live.stop()

    def _refresh(self) -> None:
        """A terminal is drawn anew by a thread, a notebook here."""
        if isinstance(self._live, NotebookPanel):
            self._live.refresh()

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
        for number, (trial, metrics) in sorted(self._running.items()):
            epoch = metrics.epoch if metrics else 0
            score = f"val acc {metrics.val_accuracy:.1%}" if metrics else "starting"
            rows.add_row(
                f"  trial {number}",
                f"epoch {epoch}/{self._config.epochs}",
                score,
                trial["placement"],
            )
        return Group(head, best, rows)

    def _counted(self, done: int) -> str:
        trials = self._config.trials
        return str(done) if trials is None else f"{done}/{trials}"

    def _share(self, done: int) -> float:
        """The share of the budget that is spent, of trials or of time."""
        of_trials = 0.0 if self._config.trials is None else done / self._config.trials
        if not self._seconds:
            return of_trials
        return max(of_trials, min(1.0, (time.monotonic() - self._began) / self._seconds))

    def _time_left(self, done: int) -> str:
        """By the trials so far, and at most what the time budget leaves."""
        spent, here = time.monotonic() - self._began, done - self._earlier
        limits = [] if self._seconds is None else [max(0.0, self._seconds - spent)]
        if here and self._config.trials is not None:
            limits.append(spent / here * (self._config.trials - done))
        if not limits:
            return "time left: ?"
        hours, seconds = divmod(int(min(limits)), 3600)
        minutes = f"{seconds // 60}:{seconds % 60:02d}"
        return f"time left: {hours}:{minutes:0>5}" if hours else f"time left: {minutes}"


class NotebookPanel:
    """A panel in the output of a notebook's cell, drawn anew in the same place.

    Args:
        panel: makes what is shown.
    """

    def __init__(self, panel: Callable[[], Group]) -> None:
        from IPython.display import display  # is there wherever a notebook runs

        self._panel = panel
        self._drawn = time.monotonic()
        self._place = display(self._content(), raw=True, display_id=True)

    def refresh(self) -> None:
        """Draw anew, at most twice a second."""
        if time.monotonic() - self._drawn >= 0.5:
            self.stop()

    def stop(self) -> None:
        """Draw for the last time."""
        self._drawn = time.monotonic()
        self._place.update(self._content(), raw=True)

    def _content(self) -> dict[str, str]:
        console = PlainConsole(record=True, file=io.StringIO(), width=110, force_jupyter=False)
        console.print(self._panel())
        html = console.export_html(inline_styles=True, code_format=JUPYTER_HTML_FORMAT, clear=False)
        return {"text/html": html, "text/plain": console.export_text()}


def _summary(trial: Mapping[str, Any]) -> str:
    name = trial["module"] or trial["placement"]
    scored = trial["val_accuracy"] is not None
    score = f"val acc {trial['val_accuracy']:.1%}" if scored else "no epoch finished"
    reason = f" ({trial['reason']})" if trial["reason"] else ""
    return (
        f"trial {trial['trial']}  {name}  {score}  epoch {trial['epochs']}  "
        f"{STATE_WORDS[trial['state']]}{reason}"
    )
