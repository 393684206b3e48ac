"""A real search from end to end: what it leaves on disk agrees with the study and with itself."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from contextlib import nullcontext
from importlib.metadata import version

import optuna
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from relu_search import RunFolder, load_exported, resume_search, run_search
from relu_search.analysis.leaderboard import ranked
from search_spaces import Backbone, InputError, measure_complexity, resolve_placement
from trials.data.splits import load_data

COLUMNS = (
    *("trial", "state", "module", "placement", "ratio", "relus", "relu_elements", "params", "macs"),
    *("seed", "epochs", "val_accuracy", "val_loss", "train_loss", "seconds"),
    *("latency_ms", "latency_q25_ms", "latency_q75_ms", "back_end"),
    *("start", "reason"),
)
BUDGET, EPOCHS = 8, 3


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def study_of(folder):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def without_seconds(table):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]


@pytest.fixture(scope="module")
def folder(searched):
    return searched.run.path


@pytest.fixture(scope="module")
def trials(folder):
    return rows(folder / "trials.csv")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=100, seed=0)


# --- files ------------------------------------------------------------------------------------


def test_the_run_folder_holds_the_files_of_the_contract(folder, trials):
    full = [f"trial-{int(r['trial']):04d}.safetensors" for r in trials if r["state"] == "COMPLETE"]
    assert {p.name for p in folder.iterdir()} == {
        "config.toml",
        "study.journal",
        "time.toml",
        "trials.csv",
        "epochs.csv",
        "events.csv",
        "weights",
        "checkpoints",
        "best",
        ".lock",
    }
    assert {p.name for p in (folder / "best").iterdir()} == {"card.json", "model.safetensors"}
    assert sorted(p.name for p in (folder / "weights").iterdir()) == sorted(full)
    assert list((folder / "checkpoints").iterdir()) == []


def test_trials_csv_has_one_row_per_trial_and_the_columns_of_the_contract(trials):
    assert tuple(trials[0]) == COLUMNS
    assert [int(row["trial"]) for row in trials] == list(range(BUDGET))


def test_events_csv_has_the_start_and_the_end_of_every_trial(folder, trials, searched):
    events = rows(folder / "events.csv")
    assert events[0]["event"] == "search begun"
    assert {row["event"] for row in events[1:]} == {"trial started", "trial ended", "new best"}
    times = [float(row["time"]) for row in events]
    assert times == sorted(times)
    for row in trials:
        mine = [e for e in events if e["trial"] == row["trial"] and e["event"] != "new best"]
        assert [e["event"] for e in mine] == ["trial started", "trial ended"]
        assert {e["placement"] for e in mine} == {row["placement"]}
    best = [row["placement"] for row in events if row["event"] == "new best"]
    assert best[-1] == searched.best_trial["placement"]
    assert all(before != after for before, after in itertools.pairwise(best))


def test_the_search_spends_its_budget(searched, trials):
    assert searched.ending == "budget spent"
    assert len({(row["placement"], row["seed"]) for row in trials}) == BUDGET


def test_hand_designed_modules_come_first_and_are_trained_to_the_end(trials):
    assert [row["module"] for row in trials[:3]] == ["paired", "2:1", "linear"]
    assert all(row["state"] == "COMPLETE" for row in trials[:3])


def test_a_search_with_too_few_trials_to_trust_a_rung_stops_none(trials):
    assert {(row["state"], int(row["epochs"])) for row in trials} == {("COMPLETE", EPOCHS)}


def test_the_study_agrees_with_trials_csv_row_by_row(folder, trials):
    study = study_of(folder)
    assert study.direction.name == "MINIMIZE"
    assert len(study.trials) == len(trials)
    for trial, row in zip(study.trials, trials, strict=True):
        assert trial.state.name == row["state"]
        assert max(trial.intermediate_values) == int(row["epochs"])
        last = trial.intermediate_values[int(row["epochs"])]
        assert last == float(row["val_loss"]) == trial.value
        assert trial.user_attrs["placement"] == row["placement"]
        assert trial.user_attrs["module"] == row["module"]


def test_epochs_csv_has_every_epoch_and_agrees_with_trials_csv(folder, trials):
    epochs = rows(folder / "epochs.csv")
    for row in trials:
        own = [e for e in epochs if e["trial"] == row["trial"]]
        assert [int(e["epoch"]) for e in own] == list(range(1, int(row["epochs"]) + 1))
        for name in ("val_accuracy", "val_loss", "train_loss"):
            assert own[-1][name] == row[name]
    assert len(epochs) == sum(int(row["epochs"]) for row in trials)


def test_the_facts_of_a_row_are_those_of_its_placement(trials):
    backbone = Backbone("plain", 8, width=4)
    for row in trials:
        placement = resolve_placement(backbone, row["placement"])
        cost = measure_complexity(backbone, placement, in_channels=1, image_size=(8, 8))
        assert int(row["relus"]) == placement.bits.count("1")
        assert int(row["relu_elements"]) == cost.relu_elements
        assert (int(row["params"]), int(row["macs"])) == (cost.params, cost.macs)
        convs, relus = map(int, row["ratio"].split(":"))
        assert convs * placement.kept == relus * 6


# --- the best model ---------------------------------------------------------------------------


def test_best_is_the_best_run_of_the_first_placement_but_the_control(searched, small_config):
    order = ranked(searched.run.read_trials(), small_config().resolve().optimised)
    candidates = order[(order["state"] == "COMPLETE") & (order["module"] != "linear")]
    assert searched.best_trial["trial"] == candidates["trial"].iloc[0]
    card = json.loads((searched.run.best / "card.json").read_text())
    assert card["training"]["trial"] == searched.best_trial["trial"]
    assert card["placement"] == searched.best_trial["placement"]


def test_the_best_model_reproduces_its_validation_accuracy(searched, folder, data):
    model, card = (
        load_exported(folder / "best"),
        json.loads((folder / "best/card.json").read_text()),
    )
    mean, std = (torch.tensor(card["normalisation"][key]) for key in ("mean", "std"))
    pixels = torch.tensor(data.validation.images, dtype=torch.float32)
    with torch.no_grad():
        logits = model(((pixels - mean) / std).permute(0, 3, 1, 2))
    labels = torch.tensor(data.validation.labels)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(searched.best_trial["val_accuracy"], abs=1e-6)
    loss = functional.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(searched.best_trial["val_loss"], rel=1e-4)


def test_the_best_weights_are_those_of_its_trial(searched):
    kept = load_file(searched.run.trial_weights(searched.best_trial["trial"]))
    best = load_file(searched.run.best / "model.safetensors")
    assert kept.keys() == best.keys()
    assert all(torch.equal(kept[name], best[name]) for name in kept)


def test_the_record_names_split_space_and_versions(searched, data):
    config, record = searched.run.read_config()
    assert record["data"]["split_digest"] == data.split_digest
    assert record["data"]["train_images"] == 100
    assert record["space_size"] == "63"
    assert record["versions"]["torch"] == version("torch")
    assert (config.trials, config.epochs, config.grace_epochs) == (BUDGET, EPOCHS, 1)


# --- again, and on ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_search(small_config, searched, trials, tmp_path):
    again = run_search(small_config(out=str(tmp_path / "again")))
    assert without_seconds(rows(again.run.path / "trials.csv")) == without_seconds(trials)
    assert without_seconds(rows(again.run.path / "epochs.csv")) == without_seconds(
        rows(searched.run.path / "epochs.csv")
    )


@pytest.fixture(scope="module")
def resumed(folder, trials, tmp_path_factory):
    """A copy of the run, cut off while a ninth trial was asked for, given three more trials."""
    copy = tmp_path_factory.mktemp("resumed") / folder.name
    shutil.copytree(folder, copy)
    study = study_of(copy)
    study.enqueue_trial({"stage1": "11", "stage2": "11", "stage3": "01"})
    study.ask({"stage1": optuna.distributions.CategoricalDistribution(("00", "01", "10", "11"))})
    with (copy / "epochs.csv").open("a") as file:
        file.write("8,1,2.0,0.2,2.0,0.5,0.1\n")
    with (copy / "trials.csv").open("a") as file:
        file.write("8,COMP")  # cut off within a row
    return resume_search(copy, trials=BUDGET + 3)


def test_a_resumed_search_loses_nothing_and_repeats_nothing(resumed, trials):
    after = rows(resumed.run.path / "trials.csv")
    assert after[:BUDGET] == trials
    assert len(after) == BUDGET + 3
    assert len({(row["placement"], row["seed"]) for row in after}) == BUDGET + 3
    assert resumed.ending == "budget spent"


def test_the_trial_that_was_cut_off_goes_on_under_its_own_number(resumed, trials):
    study = study_of(resumed.run.path)
    assert [trial.state.is_finished() for trial in study.trials] == [True] * (BUDGET + 3)
    after = rows(resumed.run.path / "trials.csv")
    assert "1*4+01" not in {row["placement"] for row in trials}
    assert after[BUDGET]["placement"] == "1*4+01"
    assert after[BUDGET]["trial"] == "8"
    epochs = rows(resumed.run.path / "epochs.csv")
    assert len(epochs) == sum(int(row["epochs"]) for row in after)


def test_a_resumed_search_adds_its_events(folder, resumed):
    before, after = (rows(path / "events.csv") for path in (folder, resumed.run.path))
    assert after[: len(before)] == before
    first, second = after[len(before) : len(before) + 2]
    assert first["event"] == "search resumed"
    assert (second["event"], second["trial"], second["placement"]) == (
        "trial started",
        "8",
        "1*4+01",
    )


def test_a_resumed_search_keeps_its_options_but_for_the_budget(resumed, searched):
    before, after = searched.run.read_config()[0].to_toml(), resumed.run.read_config()[0].to_toml()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"trials", "out"}
    assert after["trials"] == BUDGET + 3


def test_a_resumed_search_keeps_best_up_to_date(resumed):
    card = json.loads((resumed.run.best / "card.json").read_text())
    assert card["training"]["trial"] == resumed.best_trial["trial"]


def test_data_that_changed_cannot_be_resumed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext([{"CPU": 1}]))
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    text = (copy / "config.toml").read_text()
    _, record = RunFolder.open(copy).read_config()
    digest = record["data"]["split_digest"]
    (copy / "config.toml").write_text(text.replace(digest, "0" * len(digest)))
    with pytest.raises(InputError, match="are not those"):
        resume_search(copy, trials=9)
    assert rows(copy / "trials.csv") == rows(folder / "trials.csv")


# --- studies by name --------------------------------------------------------------------------
