"""What is printed: texts as they are, no control characters, and a word when nobody can take it."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

import pytest
from helpers.clock import Clock
from rich.table import Table

from relu_search import LiveView, RunFolder, SearchConfig
from relu_search.cli import live_view
from relu_search.cli.console import print_json, print_parts, say
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
def test_the_live_view_shows_names_and_reasons_as_they_are(terminal, tmp_path):
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=terminal, width=400)
    view = LiveView(console)
    config = SearchConfig(backbone="plain-8").resolve()
    view.began(RunFolder(tmp_path), dataclasses.replace(config, data=f"folder:{NASTY}"))
    row = {"trial": 0, "module": "", "placement": NASTY, "epochs": 0, "reason": NASTY}
    view.started(row)
    console.print(view._panel())
    view.finished(row | {"state": "FAIL", "val_accuracy": None, "val_loss": None})
    view.finished(
        row | {"state": "COMPLETE", "val_accuracy": 1.0, "val_loss": 1.0, "module": NASTY}
    )
    console.print(view._panel())
    view.ended("budget spent")
    text = file.getvalue()
    assert f"on folder:{SHOWN}" in text
    assert text.count(SHOWN) >= 3
    assert "\x1b[31m" not in text
    assert "\u202e" not in text


def test_in_a_notebook_one_panel_is_drawn_anew_at_most_twice_a_second(tmp_path, monkeypatch):
    clock, drawn, places = Clock(), [], []

    class Place:
        def update(self, content, raw):
            drawn.append(content)

    def display(content, *, display_id=False, **_):
        if display_id:
            places.append(content)
            return Place()
        return None  # the headline

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(live_view.time, "monotonic", clock)
    view = LiveView(PlainConsole(force_jupyter=True))
    view.began(RunFolder(tmp_path), SearchConfig(backbone="plain-8", trials=2).resolve())
    view.started({"trial": 0, "placement": "<b>01*3"})
    assert (len(places), drawn) == (1, [])
    clock.now += 1
    view.started({"trial": 1, "placement": "1*6"})
    assert len(drawn) == 1
    assert "<b>01*3" in drawn[0]["text/plain"]
    assert "&lt;b&gt;01*3" in drawn[0]["text/html"]
    view.ended("budget spent")
    assert (len(places), len(drawn)) == (1, 2)


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
