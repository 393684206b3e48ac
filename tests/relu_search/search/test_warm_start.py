"""The warm start: which placements a supernet ranks, what is tried first, and a failed supernet."""

from __future__ import annotations

import shutil

import pytest
from helpers.replay import drive, new_proposer, new_study

from relu_search import SearchConfig, resume_search, run_search
from relu_search.analysis.answer import report_text
from relu_search.run_folder.folder import RunFolder
from relu_search.search import warm_start
from relu_search.search.warm_start import (
    SCORED,
    advised_placements,
    check_warm_start,
    scored_placements,
)
from search_spaces import InputError, Placement, SearchSpace
from trials.training.metrics import NonFiniteLossError
from trials.training.supernet import Supernet

OPTIONS = {
    "backbone": "plain-8",
    "width": 4,
    "train_limit": 100,
    "epochs": 1,
    "trials": 8,
    "concurrent": 1,
    "warm_start": "supernet",
}


def test_advice_comes_after_the_modules_once_and_unprotected():
    study, first = new_study(), [Placement("110000"), Placement("000011"), Placement("010101")]
    proposer = new_proposer(study, trials=8, first=first)
    drive(proposer, limit=4)
    again = new_proposer(study, trials=8, first=first)
    proposals = drive(again)
    bits = [Placement.parse(t.user_attrs["placement"]).bits for t in study.trials]
    assert bits[:5] == ["111111", "010101", "000000", "110000", "000011"]
    assert len(set(bits)) == 8
    assert not any(p.protected for p in proposals)


def test_large_spaces_are_sampled_small_ones_are_ranked_whole():
    assert len(scored_placements(SearchSpace("plain-38", "stage"), 0)) == 63
    drawn = scored_placements(SearchSpace("plain-38", "block"), 0)
    assert len(set(drawn)) == len(drawn) == SCORED
    assert drawn != scored_placements(SearchSpace("plain-38", "block"), 1)


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """A real search that a real supernet advised."""
    return run_search(SearchConfig(**OPTIONS, out=str(tmp_path_factory.mktemp("advised") / "run")))


def test_a_real_search_is_advised_by_a_real_supernet(advised):
    ranking = advised.run.read_supernet()
    assert len(ranking) == 63 + 1  # and the control
    assert list(ranking["val_loss"]) == sorted(ranking["val_loss"])
    modules = {p.text for p in SearchConfig(**OPTIONS).resolve().references.values()}
    best = [text for text in ranking["placement"][:2] if text not in modules]
    trained = list(advised.run.read_trials()["placement"])
    assert trained[3 : 3 + len(best)] == best


def test_a_resumed_run_does_not_train_the_supernet_again(advised, tmp_path, monkeypatch):
    shutil.copytree(advised.run.path, tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    monkeypatch.setattr(Supernet, "train", None)
    config = run.read_config()[0]
    placements = advised_placements(run, config, None, config.search_space())
    assert len(placements) == 2


def test_a_search_whose_supernet_diverges_goes_on_without_it_also_when_resumed(
    tmp_path, monkeypatch, capsys
):
    trainings = []

    def diverging(*_, **__):
        trainings.append(1)
        raise NonFiniteLossError(2, "training loss", float("nan"))

    monkeypatch.setattr(Supernet, "train", diverging)
    config = SearchConfig(**{**OPTIONS, "trials": 4}, out=str(tmp_path / "run"))
    ear = Silent()
    outcome = run_search(config, listeners=(ear,))
    said = [line for line in capsys.readouterr().out.splitlines() if "without a warm start" in line]
    assert len(said) == 1
    assert "diverged: training loss became nan in epoch 2" in said[0]
    assert outcome.ending == "budget spent"
    assert len(outcome.run.read_trials()) == 4
    assert outcome.run.read_supernet().empty
    assert "Supernet: its training diverged" in report_text(outcome.run)[1]

    more = resume_search(tmp_path / "run", trials=5, listeners=(ear,))
    assert "without a warm start" in capsys.readouterr().out
    assert len(more.run.read_trials()) == 5
    assert len(trainings) == 1


class Silent:
    """A listener that does nothing; with one, a search prints its progress."""

    def started(self, proposal): ...

    def epoch(self, number, metrics): ...

    def finished(self, trial): ...


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_of_gpus_on_a_machine_without_one_is_refused_before_anything_is_written(
    precision, tmp_path, monkeypatch
):
    monkeypatch.setattr(warm_start, "local_device", lambda: "cpu")
    config = SearchConfig(**OPTIONS, precision=precision, out=str(tmp_path / "run"))
    with pytest.raises(InputError, match=f"precision {precision} needs a GPU.*omit --warm-start"):
        run_search(config)
    assert not (tmp_path / "run").exists()
    check_warm_start(SearchConfig(**{**OPTIONS, "warm_start": None}, precision=precision).resolve())
    monkeypatch.setattr(warm_start, "local_device", lambda: "cuda")
    check_warm_start(config.resolve())
