"""What is printed: texts as they are, no control characters, and a word when nobody can take it."""

from __future__ import annotations

import io
import subprocess
import sys
import types

import optuna
import pytest
from optuna.trial import TrialState
from rich.table import Table

from relu_search.cli.console import print_json, print_parts, say
from relu_search.cli.live_view import LiveView
from relu_search.cli.plain_console import PlainConsole

NASTY = "a[/red]b [bold]c :smile: \x1b[31m \x9b2J \u202e \udcff"
SHOWN = "a[/red]b [bold]c :smile: \\x1b[31m \\x9b2J \\u202e \\udcff"


def test_texts_are_shown_as_they_are_but_for_control_characters(capsys):
    table = Table("head", title=NASTY)
    table.add_row(NASTY)
    print_parts(NASTY + "\nsecond line", table)
    say(NASTY)
    print_json({"text": NASTY})
    out, err = capsys.readouterr()
    assert out.count(SHOWN) == 3
    assert "\nsecond line\n" in out
    assert err == SHOWN + "\n"
    assert "\x1b" not in out
    assert "\x9b" not in out


@pytest.mark.parametrize("terminal", [True, False])
def test_the_live_view_shows_names_and_reasons_as_they_are(terminal):
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=terminal, width=400)
    view = LiveView(console, headline=f"on folder:{NASTY}", trials=9, epochs=1, metric="val_loss")
    placement = types.SimpleNamespace(text=NASTY)
    proposal = types.SimpleNamespace(number=0, spec=types.SimpleNamespace(placement=placement))
    attributes = {"module": "", "placement": NASTY, "reason": NASTY, "history": []}
    trial = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes)
    with view:
        view.started(proposal)
        console.print(view._panel())
        view.finished(trial)
        done = optuna.trial.create_trial(
            value=1.0,
            user_attrs=attributes
            | {"history": [{"val_accuracy": 1.0, "val_loss": 1.0}], "module": NASTY},
        )
        view.finished(done)
        console.print(view._panel())
    text = file.getvalue()
    assert f"on folder:{SHOWN}" in text
    assert text.count(SHOWN) >= 3
    assert "\x1b[31m" not in text
    assert "\u202e" not in text


SHOW = [sys.executable, "-m", "relu_search.cli"]


@pytest.mark.parametrize(
    "arguments", [["show", "plain-8"], ["show", "plain-8", "--json"], ["--help"]]
)
def test_an_output_that_is_full_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SHOW, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        "relu-search: the output cannot be written (No space left on device); send it elsewhere\n"
    )


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams_are_no_error(closed):
    show = [*SHOW, "show", "plain-8"]
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, {show!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
