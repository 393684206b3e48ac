"""`relu-search discover`: bad input is one line and changes nothing; the answer comes last."""

from __future__ import annotations

import pytest
from helpers.command_line import by_arguments, check_refused
from helpers.judging import make_search

from relu_search import RunFolder
from relu_search.discovery.discover import Discovery
from relu_search.discovery.division import Division
from relu_search.discovery.winner import Winner

MODULE = "relu_search.discovery.discover"


@pytest.fixture
def begun(folder):
    """A working folder with a run of search, and one that discover has begun."""
    make_search(folder / "searched")
    make_search(folder / "begun", budget={"trials": 24})
    Division(trials=60, time_budget=None, top=3, arms=6).write(RunFolder(folder / "begun"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trials", "39"], "needs at least 40"),
        (["--trials", "ten"], "ten"),
        (["--time-budget", "soon"], "time budget is 'soon'"),
        (["--top", "0"], "top is 0; it must be at least 1"),
        (["--objective", "loss,relus"], "No such option: --objective"),
        (["--at-least-accuracy", "0.9"], "No such option: --at-least-accuracy"),
        (["--resume", "none"], "none is not a run folder"),
        (["--resume", "searched"], "was not begun by discover"),
        (["--resume", "begun", "--trials", "59"], "59 is less than the 60 of the run"),
        (["--resume", "begun", "--time-budget", "2h"], "less than no limit"),
        (["--resume", "begun", "--top", "2"], "begun with 3"),
        (["--resume", "begun", "--overwrite"], "exclude each other"),
        (["--out", "begun", "--epochs", "9"], "--epochs 9 .it has 2. contradicts"),
        (["--out", "searched"], "holds a search"),
        (["--out", "given/full"], "holds files that are no search's"),
        (["--config", "given/unknown.toml"], "unknown key 'colour'"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, begun):
    check_refused(cli, begun, ["discover", *arguments], says)


def test_the_same_command_goes_on_and_the_answer_is_last(cli, begun, monkeypatch):
    asked = []
    run = RunFolder(begun / "begun")
    card = run.winner / "card.json"
    winner = Winner(arm="2:1", placement="01*3", is_better=True, seed=4, card=card)

    def resumed(folder, **options):
        options.pop("watchers")
        asked.append((folder, options))
        answer = ["The confirmed winner is 2:1.", "The model is here."]
        return Discovery(run=run, ending="complete", verdicts=[], winner=winner, answer=answer)

    monkeypatch.setattr(f"{MODULE}.resume_discovery", resumed)
    arguments = ["discover", "--out", "begun", "--trials", "60", "--width", "2"]
    code, out, _ = cli(*arguments)
    assert code == 0
    assert out.splitlines()[-2:] == ["The confirmed winner is 2:1.", "The model is here."]
    ((folder, options),) = asked
    assert folder == "begun"
    given = {"out": "begun", "trials": 60, "width": 2}
    assert options == {**given, "top": None, "verbose": False, "since": None}
