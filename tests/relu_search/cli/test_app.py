"""How a command line ends: exit code, and one line on stderr."""

from __future__ import annotations

import shutil
from importlib.metadata import version

import pytest
from helpers.command_line import check_refused

from relu_search.cli.app import TRACEBACK_VARIABLE
from search_spaces import InputError
from trials.files.durable import StorageError
from trials.running.faults import RunStoppedError

AGAIN = "no file is incomplete. Give the same command again"


@pytest.fixture
def show_raises(monkeypatch, cli):
    """Error -> how `relu-search show plain-8` ends when its work raises it."""

    def call(error):
        def work(*_arguments, **_options):
            raise error

        monkeypatch.setattr("relu_search.analysis.placement_facts.describe", work)
        monkeypatch.setattr("relu_search.cli.supervisor._progress", None)  # of other tests
        return cli("show", "plain-8")

    return call


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("width is 0;\nit must be 1"), 2, "width is 0; it must be 1"),
        (RunStoppedError("all trials fail"), 1, f"all trials fail; {AGAIN}"),
        (RunStoppedError("go on so", says_how_to_go_on=True), 1, "go on so"),
        (StorageError("disk full"), 1, f"disk full; {AGAIN}"),
        (ValueError("odd"), 1, f"ValueError: odd (set {TRACEBACK_VARIABLE}=1 to see where)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_one_line_and_an_exit_code(error, code, line, show_raises):
    assert show_raises(error) == (code, "", f"relu-search: {line}\n")


@pytest.mark.parametrize(
    ("verb", "options", "same"),
    [
        ("search", (), ""),
        ("search", ("--trials", "9"), ", and the same options"),
        ("confirm", (), ", and the same options"),
    ],
)
def test_if_ray_does_not_start_the_line_says_how_to_go_on(
    verb, options, same, searched, cli, tmp_path, monkeypatch
):
    def init(**_options):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", init)
    folder = shutil.copytree(searched.run.path, tmp_path / "run")
    again = f"{verb} --resume" if verb == "search" else verb
    count = 8 if verb == "search" else 0
    code, _, err = cli(*again.split(), folder, *options)
    assert code == 1
    assert err.splitlines()[-1] == (
        "relu-search: Ray does not start: The current node timed out during startup; "
        f"{count} finished trainings are safe in {folder}. Go on with: relu-search {again} {folder}"
        f"{same}"
    )


def test_ctrl_c_ends_with_130(show_raises):
    code, out, _ = show_raises(KeyboardInterrupt())
    assert (code, out) == (130, "")


def test_a_closed_pipe_is_no_error_message(show_raises):
    assert show_raises(BrokenPipeError()) == (1, "", "")


def test_a_traceback_is_raised_when_asked_for(show_raises, monkeypatch):
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(ValueError, match="odd"):
        show_raises(ValueError("odd"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-verb"], "no-such-verb"),
        (["--no-such-option"], "--no-such-option"),
        (["search", "--colour", "red"], "--colour"),
        (["search", "--trials"], "--trials"),
        (["search", "--trials", "1.5"], "--trials"),
        (["search", "extra"], "extra"),
        (["show"], "backbone"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, arguments, says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("search --lr 3", "No such option: --lr (see relu-search search --help)"),
        ("search --trial 3", "--trial; did you mean --trials? (see relu-search search --help)"),
        ("search --max-relu 3", "--max-relu; did you mean --max-relus? (see relu-search search"),
        ("search --no-repor", "did you mean --no-report?"),
        ("search -trials 3", "-t; options begin with two dashes (see relu-search search --help)"),
        ("search --sampler", "--sampler' requires an argument. (see relu-search search --help)"),
        ("search --trials x", "(see relu-search search --help)"),
        ("confirm", "(see relu-search confirm --help)"),
        ("show plain-8 1*6 extra", "(see relu-search show --help)"),
        ("shwo", "No such command 'shwo'. Did you mean 'show'? (see relu-search --help)"),
        ("--lr 3", "No such option: --lr (see relu-search --help)"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant_and_with_the_help_of_the_verb(line, says, cli):
    code, out, err = cli(*line.split())
    assert (code, out) == (2, "")
    assert says in err


def test_an_unlike_option_is_never_suggested(cli):
    for typed in ("--lr", "--gpu", "--colour", "--batch", "--out-dir"):
        assert "did you mean" not in cli("search", typed, "1")[2]


def test_the_version_is_that_of_the_package(cli):
    assert cli("--version") == (0, f"relu-search {version('relu-search')}\n", "")


def test_without_arguments_the_verbs_are_listed(cli):
    _, out, err = cli()
    for verb in ("search", "confirm", "reproduce", "export", "bench"):
        assert verb in out + err
