"""Print what the verbs have to say: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from search_spaces.errors import InputError, printable
from trials.files.durable import StorageError
from trials.running.faults import RunStoppedError

if TYPE_CHECKING:
    from relu_search.cli.live_view import LiveView
    from relu_search.search.run_search import SearchOutcome
    from relu_search.settings.resolved_config import ResolvedConfig

EXIT_FAILURE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


def live_view(config: ResolvedConfig, earlier: int = 0) -> LiveView:
    """The live view of a search, on stderr.

    Args:
        earlier: trials that were finished before, on a resume.
    """
    from relu_search.cli.live_view import LiveView
    from relu_search.cli.plain_console import PlainConsole

    return LiveView(
        PlainConsole(stderr=True),
        headline=_headline(config),
        trials=config.trials,
        epochs=config.training_recipe.epochs,
        metric=config.metric,
        earlier=earlier,
    )


def _headline(config: ResolvedConfig) -> str:
    size, left_out = config.search_space().size, [*config.references][config.trials :]
    count = f"{size:,}" if size < 10**12 else f"about 1e{len(str(size)) - 1}"
    return (
        f"searching {config.network.name}, width {config.network.width}, on {config.data}: "
        f"{count} placements at granularity {config.granularity}, {config.trials} trials of "
        f"{config.epochs} epochs; hand-designed modules first"
        + (f" (the budget is too small for {', '.join(left_out)})" if left_out else "")
    )


def show_outcome(outcome: SearchOutcome, as_json: bool) -> None:
    """Print how a search ended: the leaderboard, or JSON, and where the best model is."""
    from relu_search.analysis.answer import report_text
    from relu_search.analysis.leaderboard import ranked, rows_of
    from relu_search.settings.metrics import METRICS

    run = outcome.run
    trials = run.read_trials()
    if as_json:
        config, _ = run.read_config()
        print_json(
            {
                "run": str(run.path),
                "ending": outcome.ending,
                "best": outcome.best_trial,
                "trials": rows_of(ranked(trials, METRICS[config.metric])),
            }
        )
    elif not trials.empty:
        print_parts(*report_text(run))
    if outcome.ending == "space exhausted":
        say("Every placement of the space has been tried; the search ended before its budget.")
    if outcome.ending == "interrupted":
        say(f"Interrupted; go on with: relu-search search --resume {run.path}")
    elif outcome.best_trial is None:
        say("No trial trained to the end; see the reasons above.")
    elif not run.best.is_dir():
        say(f"The best weights did not reach {run.path}: workers must be able to write there.")
    else:
        say(f"Best model: {run.best}. Everything is in {run.path}.")


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


@contextlib.contextmanager
def interruptible(going_on: str) -> Iterator[None]:
    """Send what Ray prints to stderr; after Ctrl-C or a fault, say how to go on."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (RunStoppedError, StorageError) as error:
        raise RunStoppedError(f"{error}. What is finished is safe. {going_on}") from error
    except KeyboardInterrupt as error:
        say(going_on)
        raise typer.Exit(EXIT_INTERRUPTED) from error
