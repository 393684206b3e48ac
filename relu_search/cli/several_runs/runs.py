"""The verb `runs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.shared_flags import JsonOption
from relu_search.settings.limits import bytes_text
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from relu_search.many_runs.run_list import RunFacts


def runs(
    folder: Annotated[str, typer.Argument(help="Folder with runs.")] = "runs",
    clean: Annotated[
        bool,
        typer.Option(
            "--clean",
            help="List checkpoints and weights that nothing needs any more: of searches that have "
            "ended, and of confirmations with all test scores. Weights of the placements in the "
            "leaderboard, of the best model and of the best arm stay.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clean: remove them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the searches in a folder: what, when, state, best, size on disk.

    Example: `relu-search runs runs --clean`
    """
    from relu_search.many_runs.run_list import runs_of

    if yes and not clean:
        raise InputError("--yes is for --clean; give both, or neither")
    found = runs_of(folder)
    if clean:
        _clean(found, remove=yes, as_json=as_json)
    elif as_json:
        print_json({"runs": [facts.to_json() for facts in found]})
    elif found:
        print_parts(_table(found))
    else:
        say(f"There is no search in {folder}.")


def _clean(found: list[RunFacts], *, remove: bool, as_json: bool) -> None:
    from relu_search.many_runs.cleaning import clean, unneeded_files
    from relu_search.run_folder.folder import RunFolder

    sizes: dict[str, int] = {}
    for facts in found:
        run = RunFolder(facts.run)
        files = {str(file): file.stat().st_size for file in unneeded_files(run)}
        sizes |= {file: files[file] for file in map(str, clean(run))} if remove else files
    if as_json:
        print_json({"removed": remove, "files": sizes})
        return
    print_parts(*(f"{bytes_text(size):>9}  {file}" for file, size in sizes.items()))
    total = f"{len(sizes)} file{'s'[: len(sizes) != 1]}, {bytes_text(sum(sizes.values()))}"
    say(f"{total}, removed." if remove else f"{total}. Remove them with --clean --yes.")


def _table(found: list[RunFacts]) -> Table:
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in ("run", "changed", "state", "what", "trials", "best", "confirmed", "size"):
        table.add_column(name, no_wrap=name in ("changed", "state", "size"), overflow="fold")
    for facts in found:
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.changed))
        best = "-" if facts.best is None else f"{facts.best} {facts.value}"
        trials = f"{facts.trials} of {facts.budget}" if facts.budget else ""
        confirmed = "yes" if facts.confirmed else "no"
        row = (str(facts.run), changed, facts.state, facts.what, trials, best, confirmed)
        table.add_row(*row, bytes_text(facts.size))
    return table
