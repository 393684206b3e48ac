"""The verb `watch`."""

from __future__ import annotations

import webbrowser
from importlib.util import find_spec
from typing import Annotated

import typer

from relu_search.cli.console import checked_output, print_json, say
from relu_search.cli.shared_flags import JsonOption
from relu_search.cli.supervisor import keep_children
from search_spaces.errors import InputError, printable


def watch(
    folder: Annotated[
        str, typer.Argument(metavar="RUN|FOLDER", help="A run folder, or a folder with runs.")
    ] = "runs",
    port: Annotated[
        int | None,
        typer.Option(help="Port on 127.0.0.1.", show_default="a free one"),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a running or finished search as a page on this machine, until Ctrl-C.

    It reads the run folder alone, so it may start before, during and after the search. It changes
    nothing.

    Example: `relu-search watch runs/20260101-120000 --open`
    """
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise InputError(
                f"watch needs {package}, which is not installed; run: pip install "
                "'relu-search[watch]'"
            )
    from relu_search.watch.run_watch import FolderWatch
    from relu_search.watch.server import HOST, bound_socket, serve

    watched = FolderWatch(folder)
    (watched.single or watched).parts("")  # so that the first page comes at once
    with bound_socket(port) as bound:
        url = f"http://{HOST}:{bound.getsockname()[1]}/"

        def begun() -> None:
            if as_json:
                print_json({"url": url, "folder": str(watched.path)})
            else:
                with checked_output():
                    print(f"{url} shows {printable(str(watched.path))}. End it with Ctrl-C.")
            if open_it:
                keep_children()
                if not webbrowser.open(url):
                    say(f"No browser was found; open {url} in one.")

        serve(watched, bound, begun)
