"""A search, a training and a confirmation that start from trained weights."""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from helpers.command_line import check_refused
from helpers.judging import Runner, make_search

import relu_search.search.run_search as run_search_module
from relu_search import RunFolder, SearchConfig, confirm, resume_search
from relu_search.export.card import read_card
from relu_search.report.page_content import page_content
from relu_search.report.run_report import write_report
from relu_search.search.back_ends import Places
from relu_search.search.run_search import plan_search
from relu_search.search.single_training import train_single
from relu_search.settings.machines import Machines
from search_spaces import InputError, build
from trials import read_weights
from trials.running.resources import Resources
from trials.training.checkpoint import save_weights

NET = ("--backbone", "plain-8", "--width", "2", "--train-limit", "40", "--epochs", "1")
OWN = Path(__file__).parents[3] / "examples" / "own_network" / "my_models.py"
HERE = Machines(in_process=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    generator = torch.Generator().manual_seed(1)
    save_weights(build("plain-8", width=2, in_channels=1, generator=generator), path)
    return path


def digest_of(path):
    network = SearchConfig(backbone="plain-8", width=2).resolve().network
    return read_weights(str(path), network, num_classes=10, in_channels=1).digest


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def call_here(function, *arguments, say):
    return function(*arguments, device="cpu", say=say)


def test_an_estimate_measures_trainings_from_the_weights(weights, monkeypatch):
    places = Places(resources=Resources(), call=call_here, at_once=1)
    monkeypatch.setattr(run_search_module, "connect", lambda *_, **__: [])
    monkeypatch.setattr(run_search_module, "measured_places", lambda config, *_: (config, places))
    config = SearchConfig(
        backbone="plain-8", width=2, train_limit=40, weights=str(weights), distill=0.5
    )
    assert plan_search(config, say=lambda _line: None).trial_seconds > 0


def test_the_model_of_a_training_is_where_the_next_one_starts(tmp_path, weights):
    """Also for any network: its file of weights is read directly."""
    options = {"train_limit": 40, "epochs": 1}
    for name, own in (
        ("family", {"backbone": "plain-8", "width": 2}),
        ("any", {"backbone": f"{OWN}:make_model"}),
    ):
        first, second = tmp_path / name, tmp_path / f"{name}-2"
        train_single(SearchConfig(**own, **options, out=str(first)), "paired", device="cpu")
        file = first / "model.safetensors"
        tuned = SearchConfig(
            **own, **options, weights=str(file), learning_rate=1e-9, distill=0.5, out=str(second)
        )
        lines: list[str] = []
        row = train_single(tuned, "paired", device="cpu", report=lines.append)
        said = "fine-tuned from model.safetensors, distilled 0.5 at temperature 4"
        assert row["start"] == said
        assert any(said in line for line in lines)
        card = read_card(second)["training"]
        assert card["start"] == said
        network = tuned.resolve().network
        data = tuned.resolve().load_data()
        shape = {"num_classes": 10, "in_channels": data.in_channels}
        assert card["fine_tuning"] == {
            "weights": "model.safetensors",
            "digest": read_weights(str(file), network, **shape).digest,
            "new_head": False,
            "distill": 0.5,
            "temperature": 4.0,
        }
        assert read_card(first)["training"]["fine_tuning"] is None


@pytest.mark.parametrize(
    ("verb", "options", "says"),
    [
        ("train", ["--weights", "none.pt"], "No such file"),
        ("search", ["--weights", "none.pt"], "No such file"),
        ("train", ["--weights", "w.bin"], "no file of .safetensors"),
        ("search", ["--weights", "other.safetensors"], "mismatches, first"),
        ("search", ["--weights", "pretrained"], "no network of torchvision: or timm:"),
        ("train", ["--normalise", "pretrained"], "no network of torchvision: or timm:"),
        ("search", ["--normalise", "0.5,0.5/0.5,0.5"], "give one mean and one std above 0"),
        ("train", ["--distill", "0.5"], "start from weights"),
        ("search", ["--new-head"], "start from weights"),
        ("search", ["--weights", "w.pt", "--pack", "4"], "packs train from scratch"),
        ("search", ["--weights", "part.safetensors", "--distill", "1"], r"placement 01\*3, and"),
    ],
)
def test_bad_values_are_one_line_and_nothing_is_written(
    verb, options, says, cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, width, placement in (("other", 3, "paired"), ("part", 2, "01*3")):
        net = build("plain-8", placement, width=width, in_channels=1)
        save_weights(net, tmp_path / f"{name}.safetensors")
    out = ["--out", "run"]
    check_refused(cli, tmp_path, [verb, *NET, *options, *out], says)


def fine_tuned_search(folder, weights):
    """A finished search, as if it had started from the weights."""
    run = make_search(folder, weights=str(weights))
    text = (run / "config.toml").read_text()
    record = f'[record]\nweights = "{digest_of(weights)}"'
    (run / "config.toml").write_text(text.replace("[record]", record))
    return run


def test_a_confirmation_takes_the_weights_of_the_search(tmp_path, weights):
    run = fine_tuned_search(tmp_path / "run", weights)
    runner = Runner()
    outcome = confirm(run, top=1, modules=[], seeds=2, compute=HERE, runner=runner)
    assert {spec.fine_tuning.weights for spec in runner.specs} == {digest_of(weights)}
    said = "fine-tuned from w.safetensors"
    assert {row["start"] for row in rows(run / "confirm.csv")} == {said}
    assert {row["start"] for row in rows(run / "verdict.csv")} == {said}
    assert {row["start"] for row in outcome.verdicts} == {said}


def test_a_confirmation_from_weights_may_have_a_time_budget(tmp_path, weights):
    run, said = fine_tuned_search(tmp_path / "run", weights), []
    how = {"modules": [], "seeds": 2, "compute": HERE, "runner": Runner()}
    outcome = confirm(run, top=1, time_budget="1h", report=said.append, **how)
    assert outcome.verdicts
    assert any("of 4 trainings" in line for line in said)


def test_moved_weights_are_found_and_others_are_refused(tmp_path, weights):
    old = tmp_path / "old.safetensors"
    shutil.copy(weights, old)
    run = fine_tuned_search(tmp_path / "run", old)
    moved = tmp_path / "moved.safetensors"
    old.rename(moved)
    how = {"top": 0, "modules": [], "seeds": 2, "compute": HERE}
    with pytest.raises(InputError, match=r"old\.safetensors cannot be read"):
        confirm(run, **how, runner=Runner())
    other = tmp_path / "other.safetensors"
    save_weights(build("plain-8", width=2, in_channels=1), other)
    with pytest.raises(InputError, match=r"other\.safetensors are not those of .*with --weights"):
        confirm(run, **how, weights=str(other), runner=Runner())
    with pytest.raises(InputError, match="are not those of"):
        resume_search(run, weights=str(other), trials=90)
    confirm(run, **how, weights=str(moved), runner=Runner())


def test_a_run_from_scratch_stays_one(tmp_path, weights):
    run = make_search(tmp_path / "run")
    with pytest.raises(InputError, match="which trains from scratch"):
        confirm(run, top=0, seeds=2, weights=str(weights), compute=HERE, runner=Runner())


def test_the_report_labels_every_table_and_figure(tmp_path, weights, monkeypatch):
    run = fine_tuned_search(tmp_path / "run", weights)
    confirm(run, top=1, modules=[], seeds=2, compute=HERE, runner=Runner())
    notes = []
    monkeypatch.setattr(
        "relu_search.report.run_report.add_note", lambda figure, text: notes.append(text)
    )
    seen = []

    def kept(*arguments, **how):
        seen.append(page_content(*arguments, **how))
        return seen[0]

    monkeypatch.setattr("relu_search.report.run_report.page_content", kept)
    monkeypatch.setattr("relu_search.report.run_report.rendered", lambda *_: b"")
    write_report(RunFolder.open(run))
    said = "fine-tuned from w.safetensors"
    (page,) = seen
    assert page.title.endswith(said)
    assert all(said in table.caption for table in (page.leaderboard, *page.verdicts))
    assert said in page.caveat
    assert f"{said} (SHA-256 {digest_of(weights)})" in dict(page.facts)["Start of a training"]
    assert any(said in statement.text for statement in page.answer)
    figures = {file.stem for file in (run / "figures").glob("*.png")}
    assert notes == [said] * len(figures)


@pytest.mark.slow
def test_a_search_from_weights_is_resumed_confirmed_and_exported(cli, tmp_path):
    """The whole way by the command line; an interrupted search gives the same tables."""
    first, run = tmp_path / "first", tmp_path / "run"
    assert cli("train", *NET, "--out", first)[0] == 0
    file = first / "model.safetensors"
    options = ["--weights", file, "--distill", "0.5", "--trials", "5", "--concurrent", "1"]
    code, out, err = cli("search", *NET, *options, "--out", run, "--no-report")
    assert code == 0, err
    said = "fine-tuned from model.safetensors, distilled 0.5 at temperature 4"
    assert said in out
    assert said in err
    assert {row["start"] for row in rows(run / "trials.csv")} == {said}
    record = tomllib.loads((run / "config.toml").read_text())["record"]
    assert record["weights"] == digest_of(file)
    assert read_card(run / "best")["training"]["fine_tuning"]["digest"] == digest_of(file)
    assert cli("search", "--resume", run, "--trials", "6", "--no-report")[0] == 0
    assert len(rows(run / "trials.csv")) == 6
    code, out, err = cli("confirm", run, "--seeds", 2, "--top", 1, "--in-process")
    assert code == 0, err
    assert said in out
    assert cli("report", run)[0] == 0
    assert cli("export", run, "--out", tmp_path / "out")[0] == 0
    assert read_card(tmp_path / "out")["training"]["start"] == said
