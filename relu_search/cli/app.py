"""The command line. Each verb calls one function; heavy libraries are imported inside verbs."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from typing import Annotated

import typer

from relu_search.cli.console import checked_output, say
from relu_search.cli.flags import with_plain_numbers
from relu_search.cli.several_runs.compare import compare
from relu_search.cli.several_runs.runs import runs
from relu_search.cli.several_runs.watch import watch
from relu_search.cli.streams import open_closed_streams
from relu_search.cli.supervisor import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED, advice
from relu_search.cli.verbs.bench import bench
from relu_search.cli.verbs.confirm import confirm
from relu_search.cli.verbs.export import export
from relu_search.cli.verbs.plan import plan
from relu_search.cli.verbs.report import report
from relu_search.cli.verbs.reproduce import reproduce
from relu_search.cli.verbs.search import search
from relu_search.cli.verbs.show import show
from relu_search.cli.verbs.train import train
from relu_search.cli.whole_way.discover import discover
from relu_search.compat import usage_error_class, usage_error_text
from search_spaces.errors import InputError, one_line
from trials.files.durable import StorageError
from trials.files.home import provide_home
from trials.running.faults import RunStoppedError

TRACEBACK_VARIABLE = "RELU_SEARCH_TRACEBACK"
_UsageError = usage_error_class()

app = typer.Typer(
    name="relu-search",
    help="Which ReLUs should a CNN keep? Searches N:M conv-ReLU placements with Ray and Optuna.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"relu-search {version('relu-search')}")
        except PackageNotFoundError:
            print("relu-search, not installed as a package")
        raise typer.Exit


@app.callback()
def _before_the_verb(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


_VERBS = (
    *(discover, search, plan, train, show, report, runs, watch, compare, confirm, reproduce),
    export,
    bench,
)
for _verb in _VERBS:
    app.command()(with_plain_numbers(_verb))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line in this process; bad input is one line on stderr and exit code 2."""
    code, line = run(arguments)
    if code == EXIT_INTERRUPTED:
        line = f"interrupted; {advice()}"
    if line:
        say(f"relu-search: {one_line(line)}")
    sys.exit(code)


def run(arguments: list[str] | None = None) -> tuple[int, str]:
    """Run the command line; its exit code, and its last line or an empty text."""
    open_closed_streams()
    # Objects made by importing torch and Ray stay, so the collector need not search them, neither
    # while the program runs nor when it ends, which would take most of a second.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        provide_home()
        code, line = _called(arguments), ""
    except _UsageError as error:
        message = usage_error_text(error)
        code = EXIT_BAD_INPUT
        line = f"{message} (see {_command(arguments)} --help)" if message else ""
    except InputError as error:
        code, line = EXIT_BAD_INPUT, str(error)
    except (KeyboardInterrupt, typer.Abort):
        code, line = EXIT_INTERRUPTED, ""
    except (RunStoppedError, StorageError) as error:
        advised = isinstance(error, RunStoppedError) and error.says_how_to_go_on
        code, line = EXIT_FAILURE, str(error) if advised else f"{error}; {advice()}"
    except BrokenPipeError:
        code, line = EXIT_FAILURE, ""
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        hint = f"set {TRACEBACK_VARIABLE}=1 to see where"
        code, line = EXIT_FAILURE, f"{type(error).__name__}: {error} ({hint})"
    return (code if isinstance(code, int) else 0), line


def _called(arguments: list[str] | None) -> object:
    """The exit code of a command line, after all of its output has been written."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or "--help" in given:  # it only prints
        with checked_output():
            return app(given, prog_name="relu-search", standalone_mode=False)
    code = app(given, prog_name="relu-search", standalone_mode=False)
    with checked_output():
        return code


def _command(arguments: list[str] | None) -> str:
    """The program with its verb, if it was called with one."""
    typed = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    verbs = {verb.__name__ for verb in _VERBS}
    return f"relu-search {typed}" if typed in verbs else "relu-search"
