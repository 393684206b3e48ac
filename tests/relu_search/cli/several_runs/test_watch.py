"""The verb `watch`: what it refuses, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
from importlib import util

import pytest
from helpers.command_line import by_arguments, check_refused, files_under
from helpers.killing import Run
from helpers.watched_runs import ended, make_run

from relu_search.cli.several_runs import watch as verb


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing"], r"missing is not a folder; give a run, or a folder with runs"),
        (["given/file"], r"given/file is not a folder"),
        (["given", "--port", "70000"], r"port 70000 is impossible; give one from 1 to 65535"),
        (["given", "--port", "0"], r"port 0 is impossible"),
        (["given", "--port", "1_0"], r"'1_0' is not a whole number"),
        (["given", "--host", "0.0.0.0"], r"No such option: --host"),
        (["given", "more"], r"unexpected extra argument"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_one_line(arguments, says, cli, folder):
    check_refused(cli, folder, ["watch", *arguments], says)


def test_a_port_that_is_in_use_is_refused(cli, folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        says = f"port {port} of 127.0.0.1 cannot be used .*; give another with --port"
        check_refused(cli, folder, ["watch", "given", "--port", port], says)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_names_it(package, cli, folder, monkeypatch):
    monkeypatch.setattr(
        verb, "find_spec", lambda name: None if name == package else util.find_spec(name)
    )
    says = (
        rf"watch needs {package}, which is not installed; run: pip install 'relu-search\[watch\]'"
    )
    check_refused(cli, folder, ["watch", "given"], says.replace("'", "."))


@pytest.mark.parametrize("found", [True, False], ids=["browser", "no browser"])
def test_it_opens_the_page_in_a_browser(found, cli, folder, monkeypatch):
    opened = []

    def stop(_watched, _bound, begun):
        begun()

    monkeypatch.setattr("relu_search.watch.server.serve", stop)
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or found)
    code, out, err = cli("watch", "given", "--open", "--json")
    shown = json.loads(out)
    assert (code, opened) == (0, [shown["url"]])
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", shown["url"])
    assert shown["folder"] == "given"
    assert err == ("" if found else f"No browser was found; open {shown['url']} in one.\n")


@pytest.mark.slow
def test_it_serves_until_ctrl_c_and_changes_nothing(tmp_path):
    make_run(tmp_path / "run", [ended(0)])
    before = files_under(tmp_path)
    run = Run("watch", tmp_path, "--json")
    text = "".join(iter(run.process.stdout.readline, "}\n"))
    port = int(json.loads(text + "}")["url"].rstrip("/").rpartition(":")[2])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as link:
        link.request("GET", "/")
        assert b"plain-8" in link.getresponse().read()
    run.interrupt(signal.SIGINT)
    code, text = run.finish()
    assert code == 130
    assert text == (
        "relu-search: interrupted; no file is incomplete. Give the same command again\n"
    )
    assert files_under(tmp_path) == before
