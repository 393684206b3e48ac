"""The warm start: which placements a supernet ranks, what is tried first, and a failed supernet."""

from __future__ import annotations

import shutil
from contextlib import nullcontext

import pytest
import torch
from helpers.replay import drive, new_proposer, new_study

from relu_search import SearchConfig, SearchListener, resume_search, run_search
from relu_search.analysis.answer import report_text
from relu_search.run_folder.folder import RunFolder
from relu_search.search.warm_start import SCORED, advised_placements, scored_placements
from search_spaces import Placement, SearchSpace
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
    """A real search that a real supernet advised. The driver trains no supernet, a worker does."""
    with pytest.MonkeyPatch.context() as driver:
        driver.setattr(Supernet, "train", None)
        out = tmp_path_factory.mktemp("advised") / "run"
        return run_search(SearchConfig(**OPTIONS, out=str(out)), listeners=[SearchListener()])


def test_a_real_search_is_advised_by_a_real_supernet(advised):
    ranking = advised.run.read_supernet()
    assert len(ranking) == 63 + 1  # and the control
    assert list(ranking["val_loss"]) == sorted(ranking["val_loss"])
    modules = {p.text for p in SearchConfig(**OPTIONS).resolve().references.values()}
    best = [text for text in ranking["placement"][:2] if text not in modules]
    trained = list(advised.run.read_trials()["placement"])
    assert trained[3 : 3 + len(best)] == best


def test_a_resumed_run_does_not_train_the_supernet_again(advised, tmp_path):
    shutil.copytree(advised.run.path, tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    config = run.read_config()[0]
    placements = advised_placements(run, config, None, config.search_space(), call=None)
    assert len(placements) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            NonFiniteLossError(2, "training loss", float("nan")),
            "diverged: training loss became nan in epoch 2",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of GPU memory: CUDA out of memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_search_whose_supernet_fails_goes_on_without_it_also_when_resumed(
    error, reason, tmp_path, monkeypatch, capsys
):
    """The worker is this process, so that the training can be replaced."""
    trainings = []

    def failing(*_, **__):
        trainings.append(1)
        raise error

    def here(resources, function, *arguments, say):
        return function(*arguments, device="cpu", say=say)

    monkeypatch.setattr("trials.on_ray.one_worker.call_in_worker", here)
    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext([{"CPU": 1}]))
    monkeypatch.setattr("relu_search.search.run_search.run_search_trials", lambda *_, **__: None)
    monkeypatch.setattr(Supernet, "train", failing)
    config = SearchConfig(**{**OPTIONS, "trials": 4}, out=str(tmp_path / "run"))
    outcome = run_search(config, listeners=[SearchListener()])
    said = [line for line in capsys.readouterr().err.splitlines() if "without a warm start" in line]
    assert len(said) == 1
    assert reason in said[0]
    assert outcome.run.read_supernet().empty
    resume_search(tmp_path / "run", trials=5, listeners=[SearchListener()])
    assert "without a warm start" in capsys.readouterr().err
    assert len(trainings) == 1


@pytest.mark.slow
def test_a_real_search_without_a_ranking_trains_its_whole_budget(tmp_path):
    """The table of a supernet that failed is empty."""
    config = SearchConfig(**{**OPTIONS, "trials": 4}, out=str(tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "trials.on_ray.one_worker.call_in_worker", lambda *_, say: ([], "diverged: nan")
        )
        outcome = run_search(config)
    assert outcome.ending == "budget spent"
    assert len(outcome.run.read_trials()) == 4
    assert "Supernet: its training diverged" in report_text(outcome.run)[1]
