"""Run folders in any state, and requests to the page that shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from helpers.replay import RUN_RECORD
from helpers.trial_tables import BLANK

from relu_search import RunFolder, SearchConfig
from relu_search.run_folder.tables import write_table

BUDGET, EPOCHS = 9, 3
BEGUN = 1_700_000_000.0
"""When the search began, in seconds since 1970."""


def make_run(path: Path, rows=(), epochs=(), events=None, **options) -> RunFolder:
    """A run of plain-8 with these rows; `events` None: none were recorded."""
    path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path)
    options = {"backbone": "plain-8", "width": 4, "epochs": EPOCHS, "trials": BUDGET} | options
    run.write_config(SearchConfig(**options).resolve(), RUN_RECORD)
    run.start_tables(rows, epochs)
    if events is not None:
        write_table(run.table("events.csv"), events)
    return run


def ended(number: int, **changes):
    """A row of `trials.csv`; each number has a placement of its own."""
    bits = f"{number + 1:06b}"
    row = {"trial": number, **BLANK, "placement": bits, "relus": bits.count("1")}
    return row | {"val_loss": 1.0 - number / 50} | changes


def epoch(trial: int, number: int, **changes):
    """A row of `epochs.csv`."""
    row = {"trial": trial, "epoch": number, "train_loss": 1.0, "train_accuracy": 0.5}
    return row | {"val_loss": 1.0, "val_accuracy": 0.25 * number, "seconds": 0.1} | changes


def event(after: float, what: str, trial: int | None = None, placement: str = ""):
    """A row of `events.csv`, so many seconds after the search began."""
    return {"time": BEGUN + after, "event": what, "trial": trial, "placement": placement}


def request(app, path, *, host="127.0.0.1:8000", method="GET", sent=None):
    """(status, headers, text) of an ASGI application's answer; `sent` gets the messages."""
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", host.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    sent = [] if sent is None else sent

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], headers, body.decode()
