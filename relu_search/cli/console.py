"""Print what the verbs have to say: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from relu_search.cli.streams import native_output_to
from relu_search.cli.supervisor import Progress, is_supervised, tell
from relu_search.trackers.listener import Ending, SearchListener
from search_spaces import look_alike
from search_spaces.errors import InputError, printable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from relu_search.run_folder.folder import RunFolder
    from relu_search.search.run_search import SearchOutcome
    from relu_search.settings.resolved_config import ResolvedConfig
    from search_spaces import SearchSpace


def headline(config: ResolvedConfig) -> str:
    """What is searched; and a warning if the budget is spent on hand-designed modules."""
    space = config.search_space()
    size = space.size
    count = f"{size:,}" if size < 10**12 else f"about 1e{len(str(size)) - 1}"
    return (
        f"searching {config.network.label}, on {config.data}{_start(config)}: "
        f"{count} placements at granularity {config.granularity}, {config.budget_text}, "
        f"{config.epochs} epoch{'s'[: config.epochs > 1]} each; hand-designed modules first"
        + _floor(config)
        + (f"\nnote: {note}" if (note := look_alike(config.network)) else "")
        + _budget_warning(config, space)
    )


def _floor(config: ResolvedConfig) -> str:
    if config.at_least_accuracy is None:
        return ""
    floor = config.optimised.text(config.at_least_accuracy)
    return f"; fewest {config.costs[0]} at a validation accuracy of at least {floor}"


def _start(config: ResolvedConfig) -> str:
    return "" if config.weights is None else f", {config.start_text}"


def _budget_warning(config: ResolvedConfig, space: SearchSpace) -> str:
    """What to know before a search that trains hand-designed modules only; else empty."""
    named = {**config.references, **config.own_placements}
    modules = {n: p for n, p in named.items() if space.encode(p) is not None}
    count = config.most_trials
    if count > len(modules):
        return ""
    trained, left_out = [*modules][:count], [*modules][count:]
    line = f"\nWARNING: the budget is spent on the hand-designed modules {', '.join(trained)}"
    if left_out:
        line += f" (it is too small for {', '.join(left_out)})"
    line += "; no other placement is tried"
    if not any(space.admits(modules[name]) for name in trained):
        line += f", and none of these modules keeps {_limits(config)}, so there will be no best one"
    return f"{line}. Use --trials {len(modules) + 1} or more."


def _limits(config: ResolvedConfig) -> str:
    least, most = config.min_relus, config.max_relus
    if most is None:
        return f"at least {least} ReLU{'s'[: least != 1]}"
    counts = str(most) if least == most else f"{least} to {most}"
    return f"{counts} ReLU{'s'[: most != 1]}"


class ReportAtEnd(SearchListener):
    """Writes the report of a search when it has ended.

    Attributes:
        path: of the report; None if none was written.
    """

    def __init__(self) -> None:
        self.path: Path | None = None

    def began(self, run: RunFolder, config: ResolvedConfig) -> None:
        self._run = run
        self._is_wanted = config.report

    def ended(self, ending: Ending) -> None:
        if self._is_wanted and ending == "budget spent" and self._run.count_trials():
            self.path = _written_report(self._run)


def show_outcome(outcome: SearchOutcome, report: Path | None, as_json: bool) -> None:
    """Print how a search ended: the leaderboard, or JSON, and where report and best model are."""
    from relu_search.analysis.answer import answer_numbers, report_text
    from relu_search.analysis.leaderboard import ranked, rows_of
    from relu_search.ratios.best_ratio import best_ratio

    run = outcome.run
    config, _ = run.read_config()
    trials = run.read_trials()
    ratios = None if trials.empty else best_ratio(trials, config)
    if not as_json and not trials.empty:
        print_parts(*report_text(run), *([] if ratios is None else [ratios.sentence()]))
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "ending": outcome.ending,
                "best": outcome.best_trial,
                "answer": answer_numbers(trials, config),
                "best_ratio": None if ratios is None else ratios.to_json(),
                "trials": rows_of(ranked(trials, config.optimised)),
                "report": None if report is None else str(report),
            }
        )
    if report is not None:
        say(f"Report: {report}")
    if outcome.ending == "interrupted":
        return
    is_spent = outcome.ending == "budget spent" and len(trials) < config.most_trials
    if config.time_limit is not None and is_spent:
        again = f"{command('search --resume', run)} {_more(config)}"
        say(f"The time budget of {config.time_budget} is spent; to search on: {again}")
    if outcome.best_trial is None:
        say(_why_no_best(run, trials, config))
    elif not run.best.is_dir():
        say(f"The best weights did not reach {run.path}: workers must be able to write there.")
    else:
        say(f"Best model: {run.best}. Everything is in {run.path}.")
        say(f"Next, compare the best placements on fresh seeds: {command('confirm', run)}")


def command(verb: str, run: RunFolder, *, same_options: bool = False) -> str:
    """A command about a run, to copy into a shell; it names the run's code again.

    Args:
        same_options: tell the reader to give the options of this command again.
    """
    code = run.read_config()[0].network.code if run.is_run() else None
    named = f" --backbone {shlex.quote(code)}" if code and verb != "report" else ""
    again = ", and the same options" if same_options else ""
    return f"relu-search {verb} {shlex.quote(str(run.path))}{named}{again}"


def _written_report(run: RunFolder) -> Path | None:
    """The path of the report; None if it cannot be written, which is no failure of the search."""
    try:
        from relu_search.report.run_report import write_report

        with contextlib.redirect_stdout(sys.stderr):
            return write_report(run)
    except (Exception, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        say(f"The report was not written: {reason}. Write it with: {command('report', run)}")
        return None


def _why_no_best(run: RunFolder, trials: pd.DataFrame, config: ResolvedConfig) -> str:
    from relu_search.analysis.answer import floor_line
    from relu_search.analysis.estimates import full_length

    if (trials["state"] != "COMPLETE").all():
        return "No trial trained to full length; the table shows why."
    if full_length(trials, config.optimised).empty:
        return f"No full-length trial has a finite {config.optimised.title}."
    if config.at_least_accuracy is not None:
        return (
            f"{floor_line(trials, config)} Add trials, or search with a lower --at-least-accuracy: "
            f"{command('search --resume', run)} {_more(config)}"
        )
    return (
        f"No full-length trial keeps {_limits(config)}, so there is no best one. Add trials: "
        f"{command('search --resume', run)} {_more(config)}"
    )


def _more(config: ResolvedConfig) -> str:
    """The option that doubles the budget of a search."""
    if config.time_limit is None:
        return f"--trials {2 * config.most_trials}"
    return f"--time-budget {math.ceil(2 * config.time_limit / 60)}m"


def print_parts(*parts: Any) -> None:
    """Print to stdout; to a file or pipe without folding lines.

    Raises:
        InputError: the output cannot be written.
    """
    from relu_search.cli.plain_console import PlainConsole

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=200)
    with checked_output():
        for part in parts:
            console.print(part)


def print_json(value: Any) -> None:
    """Print a value as JSON to stdout.

    Raises:
        InputError: the output cannot be written.
    """
    with checked_output():
        sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def say(line: str) -> None:
    """Print a line to stderr, with control characters escaped; nothing if it is closed or full."""
    with contextlib.suppress(OSError):
        sys.stderr.write(printable(line, keep="\n") + "\n")


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """Let all that the block prints reach its destination. The block must do nothing else.

    Raises:
        InputError: it does not, as on a full disk.
        BrokenPipeError: nobody reads it.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # Python would try again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise InputError(
            f"the output cannot be written ({error.strerror or error}); send it elsewhere"
        ) from error


def begin(progress: Progress, *, verbose: bool) -> None:
    """Set what the last line names, and send what Ray prints to a file unless it is to be shown."""
    tell(progress)
    if is_supervised() and not verbose:
        native_output_to(progress.log)


def results_alone() -> contextlib.AbstractContextManager[object]:
    """Keep stdout for results: what Ray prints in the block goes where `begin` sends it."""
    return contextlib.redirect_stdout(sys.__stdout__ if is_supervised() else sys.stderr)
