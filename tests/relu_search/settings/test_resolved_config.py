"""The options of a search as it runs them, and as `config.toml` holds them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from relu_search.settings.metrics import METRICS
from relu_search.settings.option_fields import options_of
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_options import RECIPE_OPTIONS
from search_spaces import Backbone, InputError
from trials.running.resources import Resources

EVERYTHING = {
    "backbone": "resnet-20",
    "width": 5,
    "backbone_args": None,  # these three are for networks beyond the families
    "sites": None,
    "exclude": None,
    "data": "parquet:images",
    "data_dir": "data sets",
    "download": True,
    "train_limit": 200,
    "validation_images": 50,
    "image_size": 24,
    "augment": "random-resized-crop",
    "normalise": "0.5,0.5,0.5/0.25,0.25,0.25",
    "recipe": "paper",
    "epochs": 7,
    "batch_size": 16,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "milestones": "0.25,0.75",
    "warm_up": 0.1,
    "optimizer": "adamw",
    "momentum": 0.8,
    "weight_decay": 0.05,
    "spare_norms": True,
    "label_smoothing": 0.1,
    "clip_norm": 2.0,
    "weights": "trained.pt",
    "new_head": False,  # excludes distill
    "distill": 0.5,
    "distill_temperature": 2.0,
    "precision": "bf16",
    "seed": 3,
    "trials": 9,
    "time_budget": "1d12h",
    "own": {"mine": "1*9+0*9"},
    "protect": True,
    "stop_when_decided": False,  # excludes objective
    "earlier": "runs/earlier",
    "granularity": "block",
    "min_relus": 9,
    "max_relus": 9,
    "ratio": "2:1",
    "norm": "keep",
    "search_norm": True,
    "activation": "elu",
    "sampler": "nsga2",
    "metric": "val_loss",
    "objective": "accuracy,relu_elements",
    "at_least_accuracy": 0.9,
    "latency_form": None,  # these two are for the objective latency
    "latency_batch": None,
    "stop_on": "val-loss",
    "grace_epochs": 2,
    "reduction_factor": 2.5,
    "concurrent": 2,
    "cpus_per_trial": 0.5,
    "gpus_per_trial": 0.25,
    "max_failures": 0,
    "niceness": 7,
    "address": "auto",
    "exchange": "s3://bucket/folder",
    "storage": "sqlite:///study.db",
    "pack": 1,  # more exclude search_norm
    "compiled": False,
    "captured": False,
    "deterministic": True,
    "warm_start": None,  # excludes weights
    "out": "runs/a",
    "log": "wandb, tensorboard",
    "report": False,
}


def resolved(**options) -> ResolvedConfig:
    return SearchConfig.from_options(options).resolve()


def test_the_list_of_options_in_this_test_is_complete():
    assert set(EVERYTHING) == set(options_of(SearchConfig))


@pytest.mark.parametrize(
    ("options", "limits", "text"),
    [
        ({}, (48, None), "48 trials"),
        ({"trials": 1}, (1, None), "1 trial"),
        ({"time_budget": "90m"}, (None, 5400), "90m"),
        ({"time_budget": "90m", "trials": 7}, (7, 5400), "7 trials in at most 90m"),
    ],
)
def test_a_time_budget_takes_the_place_of_the_default_number_of_trials(options, limits, text):
    config = resolved(**options)
    assert (config.trials, config.time_limit) == limits
    assert config.budget_text == text
    again = SearchConfig.from_options(config.to_toml()).resolve()
    assert (again.trials, again.time_limit) == limits


def test_a_time_budget_in_another_form_is_refused():
    with pytest.raises(InputError, match=r"^time budget is '2 hours'; write a time from 1s"):
        resolved(time_budget="2 hours")


def test_the_defaults_are_the_embedded_demonstration():
    config = resolved()
    assert (config.backbone, config.data, config.width) == ("plain-38", "digits", 8)
    assert (config.epochs, config.grace_epochs, config.trials) == (5, 1, 48)
    assert config.network == Backbone.parse("plain-38", 8)
    assert config.optimised is METRICS["val_loss"]
    assert config.resources == Resources()
    assert list(config.references) == ["paired", "2:1", "linear"]
    assert config.directions == ["minimize"]
    assert (config.training_recipe.name, config.training_recipe.epochs) == ("short", 5)


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"data": "cifar10"}, "width", 16),
        ({"recipe": "paper"}, "epochs", 400),
        ({"recipe": "paper"}, "grace_epochs", 20),
        ({"epochs": 1}, "grace_epochs", 1),
        ({"epochs": 17}, "grace_epochs", 3),
        ({"min_relus": "25%"}, "min_relus", 9),  # of 36
        ({"max_relus": "60%"}, "max_relus", 21),
        ({"max_relus": "7"}, "max_relus", 7),
        ({"ratio": "2:1"}, "min_relus", 18),
        ({"ratio": "2:1"}, "max_relus", 18),
        ({"pack": "8"}, "pack", 8),
        ({"objective": "accuracy,relus"}, "metric", "val_accuracy"),
        ({"metric": "val_accuracy", "objective": "relus"}, "metric", "val_accuracy"),
        ({"objective": "accuracy,relus"}, "directions", ["maximize", "minimize"]),
        ({"granularity": "coarse-to-fine"}, "proposed_by", "coarse-to-fine"),
        ({"concurrent": 2}, "resources", Resources(concurrent=2)),
    ],
    ids=str,
)
def test_what_is_left_out_or_typed_as_a_text_follows_from_the_rest(options, name, value):
    assert getattr(resolved(**options), name) == value


def test_every_placement_of_a_ratio_has_its_number_of_relus():
    space = resolved(ratio="3:1", granularity="stage").search_space()
    kept = {placement.kept for placement in space.enumerate()}
    assert kept == {12}


def test_a_changed_copy_is_checked_again():
    with pytest.raises(InputError):
        replace(resolved(), min_relus=37)
    with pytest.raises(InputError, match="concurrent"):
        replace(resolved(), concurrent=0)


@pytest.mark.parametrize(
    "options",
    [{}, EVERYTHING, {"pack": 8}, {"pack": "auto"}, {"compiled": True, "captured": True}],
    ids=["defaults", "everything set", "packed", "packed auto", "compiled and captured"],
)
def test_the_config_of_a_run_reads_back_equal(options, tmp_path):
    config, run = resolved(**options), RunFolder(tmp_path)
    record = {"space_size": str(2**200), **RUN_RECORD}
    run.write_config(config, record)
    out = None if config.out is None else str(Path("runs/a").absolute())
    assert run.read_config() == (replace(config, out=out), record)
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    known = set(EVERYTHING) - set(RECIPE_OPTIONS)  # they are in the recipe
    assert set(written) - {"record"} == {n for n in known if getattr(config, n) is not None}


def test_the_config_of_a_run_is_a_config_file_for_another(tmp_path):
    RunFolder(tmp_path).write_config(resolved(**EVERYTHING), {"note": "of the first run"})
    again = SearchConfig.from_options({"out": "runs/b"}, tmp_path / "config.toml")
    assert again.resolve() == resolved(**{**EVERYTHING, "out": "runs/b"})


OLD_CONFIG = """\
backbone = "plain-8"
width = 4
data = "digits"
download = false
train_limit = 100
validation_images = 60
recipe = "short"
epochs = 4
precision = "fp32"
seed = 0
trials = 8
granularity = "stage"
min_relus = 1
norm = "keep"
search_norm = false
activation = "relu"
sampler = "gp"
metric = "val_loss"
grace_epochs = 1
reduction_factor = 3
concurrent = 1
cpus_per_trial = 1
max_failures = 2
pack = 1
compiled = false
captured = false
out = "runs/old"
"""


def test_the_config_file_is_that_of_version_0_1_with_newer_options(tmp_path):
    """Keys and values: OLD_CONFIG was written before options were split in two types."""
    config = resolved(
        backbone="plain-8",
        width=4,
        train_limit=100,
        validation_images=60,
        epochs=4,
        trials=8,
        grace_epochs=1,
        reduction_factor=3,
        concurrent=1,
        out="runs/old",
    )
    assert without_new_options(config) == tomllib.loads(OLD_CONFIG)
    file = tmp_path / "old.toml"
    file.write_text(OLD_CONFIG)
    read = SearchConfig.from_options({}, file).resolve()
    assert read == config
    assert without_new_options(read) == tomllib.loads(OLD_CONFIG)


def without_new_options(config):
    """The table of a config without the options that version 0.1 did not have."""
    table = config.to_toml()
    assert table.pop("niceness") == 0
    assert table.pop("stop_on") == "train-loss-sum"
    assert table.pop("deterministic") is False
    assert table.pop("report") is True
    assert table.pop("protect") is False
    assert table.pop("new_head") is False
    assert table.pop("normalise") == "data"
    assert table.pop("stop_when_decided") is False
    return table


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder; `$RELU_SEARCH_DATA` is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELU_SEARCH_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"data": "folder:images"}, "data", "folder:{}/images"),
        ({"data": "parquet:a/../images"}, "data", "parquet:{}/images"),
        ({"data": "parquet:/images"}, "data", "parquet:/images"),
        ({"data": "folder:~/images"}, "data", f"folder:{Path.home()}/images"),
        ({"data": "cifar10", "data_dir": "sets"}, "data_dir", "{}/sets"),
        ({"data": "cifar10"}, "data_dir", "{}/data"),
        ({"data": "folder:images"}, "data_dir", None),
        ({"exchange": "between"}, "exchange", "{}/between"),
        ({"exchange": "s3://bucket/x"}, "exchange", "s3://bucket/x"),
        ({"storage": "sqlite:///study.db"}, "storage", "sqlite:///{}/study.db"),
        ({"storage": "sqlite:////a/study.db"}, "storage", "sqlite:////a/study.db"),
        (
            {"storage": "sqlite+pysqlite:///a/s.db?timeout=9"},
            "storage",
            "sqlite+pysqlite:///{}/a/s.db?timeout=9",
        ),
        (
            {"storage": "sqlite:///file:s.db?uri=true"},
            "storage",
            "sqlite:///file:{}/s.db?uri=true",
        ),
        ({"storage": "postgresql://db/name"}, "storage", "postgresql://db/name"),
    ],
    ids=str,
)
def test_a_path_holds_in_every_working_directory(options, name, value, place):
    expected = value if value is None else value.format(place)
    assert getattr(resolved(**options), name) == expected


@pytest.mark.parametrize(("set_to", "kept"), [("/sets", None), ("sets", "{}/sets")])
def test_a_folder_of_data_sets_from_the_environment_stays_there(set_to, kept, place, monkeypatch):
    monkeypatch.setenv("RELU_SEARCH_DATA", set_to)
    assert resolved(data="cifar10").data_dir == (kept and kept.format(place))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@db/name",
        "mysql+pymysql://me:s3cret@db:1/x",
        "odd://me:s3cret@[db",
        "postgresql+psycopg://me:s3c%40s3cret@db/name?sslmode=require",
    ],
)
def test_a_password_is_never_written(url, tmp_path):
    run = RunFolder(tmp_path)
    config = resolved(storage=url)
    run.write_config(config, RUN_RECORD)
    assert "s3cret" not in (tmp_path / "config.toml").read_text() + repr(config)
    assert run.read_config()[0].storage == re.sub(":s3c[^@]*", "", url)


@pytest.mark.parametrize("text", ["", "record = 3", "[record]\nstudy = 'a'"])
def test_a_config_without_the_record_of_a_search_is_no_runs(text, tmp_path):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InputError, match="not a run's config"):
        RunFolder(tmp_path).read_config()
