"""Command lines from hell: exit code 0 or 2, one printable line, nothing written."""

from __future__ import annotations

import os

import pytest
from helpers.hostile import FEW, MANY, texts
from hypothesis import given
from hypothesis import strategies as st

from relu_search.cli.app import main
from search_spaces import InputError

WORK = (
    "search.run_search.run_search",
    "search.run_search.resume_search",
    "search.single_training.train_single",
    "confirmation.confirm.confirm",
    "reproduce.run_experiment.reproduce",
    "export.from_run.export_from",
)
OPTIONS = {
    "search": (
        *("--backbone", "--width", "--data", "--data-dir", "--train-limit", "--epochs", "--seed"),
        *("--trials", "--granularity", "--sampler", "--concurrent", "--cpus-per-trial", "--out"),
        *("--gpus-per-trial", "--max-failures", "--address", "--storage", "--resume", "--config"),
        *("--min-relus", "--max-relus", "--norm", "--activation", "--metric", "--precision"),
        *("--grace-epochs", "--reduction-factor", "--recipe", "--validation-images"),
    ),
    "train": ("--backbone", "--placement", "--device", "--epochs", "--out", "--config"),
    "show": ("--num-classes", "--in-channels", "--image-size", "--width", "--norm"),
    "report": (),
    "confirm": ("--top", "--modules", "--seeds", "--first-seed", "--epochs", "--margin"),
    "reproduce": ("--data", "--depths", "--seeds", "--epochs", "--width", "--out"),
    "export": ("--out", "--format", "--trial", "--fold", "--weights"),
}
ARGUMENTS = {"show": 2, "report": 1, "confirm": 1, "reproduce": 1, "export": 1}
words = st.one_of(
    texts.filter(lambda text: "\x00" not in text and len(text) < 5_000),
    st.sampled_from(["8", "0", "-1", "1e9", "nan", "plain-8", "paired", "digits", "table1", "x,y"]),
)


@st.composite
def command_lines(draw):
    verb = draw(st.sampled_from(sorted(OPTIONS)))
    line = [verb, *(draw(words) for _ in range(ARGUMENTS.get(verb, 0)))]
    for _ in range(draw(st.integers(0, 3)) if OPTIONS[verb] else 0):
        line += [draw(st.sampled_from(OPTIONS[verb])), draw(words)]
    return [word.encode(errors="replace").decode() for word in line]


@pytest.fixture
def fuzz(tmp_path, monkeypatch, capfd):
    """Settings -> check as many command lines, in an empty folder, without any real work."""

    def reached(*_arguments, **_options):
        raise InputError("reached the work")

    for name in WORK:
        monkeypatch.setattr(f"relu_search.{name}", reached)
    monkeypatch.chdir(tmp_path)

    def check(settings):
        @settings
        @given(command_lines())
        def one(line):
            capfd.readouterr()
            with pytest.raises(SystemExit) as end:
                main(line)
            out, err = capfd.readouterr()
            assert end.value.code in (0, 2), err
            assert "Traceback" not in err
            if end.value.code == 2:
                assert out == ""
                assert err.startswith("relu-search: ")
                assert err.endswith("\n")
                assert err[:-1].isprintable(), repr(err)
                assert len(err) < 2_000
            assert os.listdir() == []

        one()

    return check


def test_hostile_command_lines(fuzz):
    fuzz(FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_hostile_command_lines(fuzz):
    fuzz(MANY)
