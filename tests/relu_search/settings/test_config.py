"""SearchConfig: options, TOML files, and the resolved copy in a run folder."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import fields

import pytest
import tomli_w
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from relu_search.settings.storage_urls import without_password
from search_spaces import InputError

EVERYTHING = {
    "backbone": "resnet-20",
    "width": 5,
    "data": "parquet:images",
    "data_dir": "data sets",
    "download": True,
    "train_limit": 200,
    "validation_images": 50,
    "recipe": "paper",
    "epochs": 7,
    "precision": "bf16",
    "seed": 3,
    "trials": 9,
    "granularity": "block",
    "min_relus": 9,
    "max_relus": 9,
    "ratio": "2:1",
    "norm": "keep",
    "search_norm": True,
    "activation": "elu",
    "sampler": "nsga2",
    "metric": "val_loss",
    "objective": "loss,relu_elements",
    "grace_epochs": 2,
    "reduction_factor": 2.5,
    "concurrent": 2,
    "cpus_per_trial": 0.5,
    "gpus_per_trial": 0.25,
    "max_failures": 0,
    "address": "auto",
    "exchange": "s3://bucket/folder",
    "storage": "sqlite:///study.db",
    "pack": 1,  # more exclude search_norm
    "compiled": False,
    "captured": False,
    "warm_start": "supernet",
    "out": "runs/a",
}


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        file = tmp_path / "options.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return to_file


def test_the_list_of_options_in_this_test_is_complete():
    assert set(EVERYTHING) == {field.name for field in fields(SearchConfig)}


def test_the_defaults_are_the_embedded_demonstration():
    config = SearchConfig().resolve()
    assert (config.backbone, config.data, config.width) == ("plain-38", "digits", 8)
    assert (config.epochs, config.grace_epochs, config.trials) == (5, 2, 48)
    assert list(config.references) == ["paired", "2:1", "linear"]
    assert config.directions == ["minimize"]


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"data": "cifar10"}, "width", 16),
        ({"recipe": "paper"}, "epochs", 400),
        ({"recipe": "paper"}, "grace_epochs", 20),
        ({"epochs": 1}, "grace_epochs", 1),
        ({"epochs": 7}, "grace_epochs", 3),
        (
            {"metric": "val_accuracy", "objective": "accuracy,relus"},
            "directions",
            ["maximize", "minimize"],
        ),
    ],
)
def test_what_is_left_out_follows_from_the_rest(options, name, value):
    assert getattr(SearchConfig(**options).resolve(), name) == value


def test_the_command_line_wins_over_the_file(write):
    file = write('backbone = "resnet-20"\ntrials = 9\nseed = 4\n')
    config = SearchConfig.from_options({"trials": 11, "seed": None}, file)
    assert (config.backbone, config.trials, config.seed) == ("resnet-20", 11, 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour = 1", "'colour'"),
        ("[search]\ntrials = 3", "'search'"),
        ("trials = ", "not valid TOML"),
        ("trials = 1\ntrials = 2", "not valid TOML"),
        ("trials = '9'", "whole number"),
        ("trials = 9.0", "whole number"),
        ("trials = true", "whole number"),
        ("backbone = 38", "a text"),
        ("download = 1", "true or false"),
        ("reduction_factor = '3'", "a number"),
        ("cpus_per_trial = true", "a number"),
        ("cpus_per_trial = nan", "cpus_per_trial"),
        ("granularity = 'layer'", "network, stage, block, site"),
        ("metric = ['val_loss']", "val_accuracy, val_loss"),
        ("precision = 'fp8'", "fp32, bf16"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_fault(text, says, write):
    with pytest.raises(InputError, match=says) as caught:
        SearchConfig.from_options({}, write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["not UTF-8", "a folder"])
def test_a_file_that_is_no_text_is_refused(content, tmp_path):
    file = tmp_path / "options.toml"
    file.write_bytes(content) if content else file.mkdir()
    with pytest.raises(InputError, match=r"options\.toml"):
        SearchConfig.from_options({}, file)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"width": -1},
        {"width": 1025},
        {"trials": 0},
        {"trials": 10**6 + 1},
        {"seed": -1},
        {"epochs": 0},
        {"epochs": 10**6},
        {"grace_epochs": 0},
        {"concurrent": 0},
        {"cpus_per_trial": 0},
        {"gpus_per_trial": -0.5},
        {"gpus_per_trial": math.nan},
        {"reduction_factor": 1},
        {"reduction_factor": math.nan},
        {"train_limit": 0},
        {"validation_images": 0},
        {"min_relus": -1},
        {"min_relus": 5, "max_relus": 4},
        {"min_relus": 37},
        {"max_relus": 0},
        {"sampler": "grid", "granularity": "block"},
        {"sampler": "cma-es"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(InputError) as caught:
        SearchConfig(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{}, EVERYTHING, {"pack": 8}, {"pack": "auto"}, {"compiled": True, "captured": True}],
    ids=["defaults", "everything set", "packed", "packed auto", "compiled and captured"],
)
def test_the_resolved_copy_reads_back_equal(options, tmp_path):
    config, run = SearchConfig(**options).resolve(), RunFolder(tmp_path)
    record = {"space_size": str(2**200), **RUN_RECORD}
    run.write_config(config, record)
    assert run.read_config() == (config, record)
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert set(written) - {"record"} == {n for n in EVERYTHING if getattr(config, n) is not None}


def test_a_resolved_copy_is_a_config_file_for_another_run(tmp_path):
    RunFolder(tmp_path).write_config(
        SearchConfig(**EVERYTHING).resolve(), {"note": "of the first run"}
    )
    again = SearchConfig.from_options({"out": "runs/b"}, tmp_path / "config.toml")
    assert again == SearchConfig(**{**EVERYTHING, "out": "runs/b"})


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
    run.write_config(SearchConfig(storage=url).resolve(), RUN_RECORD)
    assert "s3cret" not in (tmp_path / "config.toml").read_text()
    kept = run.read_config()[0].storage
    assert kept == re.sub(":s3c[^@]*", "", url)
    assert "s3cret" not in without_password(url)
    assert "***" in without_password(url)


@pytest.mark.parametrize("text", ["", "record = 3", "[record]\nstudy = 'a'"])
def test_a_config_without_the_record_of_a_search_is_no_runs(text, tmp_path):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InputError, match="not a run's config"):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a/b#c?d@db/x", "postgresql://me:***@db/x"),
        (
            "postgresql://me@db/x?password=s3cret&sslmode=a",
            "postgresql://me@db/x?password=***&sslmode=a",
        ),
        ("postgresql://db/x", "postgresql://db/x"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("nonsense:s3cret@", ":***@"),
    ],
)
def test_a_password_is_hidden_also_in_a_malformed_url(url, shown):
    assert without_password(url) == shown


def test_a_url_with_two_at_signs_is_refused_without_its_password():
    with pytest.raises(InputError, match=r"postgresql://me:\*\*\*@db/x has more than one @"):
        SearchConfig(storage="postgresql://me:s3@cret@db/x")
    assert "s3cret" not in repr(SearchConfig(storage="postgresql://me:s3cret@db/x").resolve())


def test_a_url_that_would_take_minutes_to_search_for_passwords_is_refused():
    with pytest.raises(InputError, match="at most 2000"):
        SearchConfig(storage="postgresql://h/x?" + "pass" * 100_000)


def test_an_endless_config_is_refused(tmp_path):
    (tmp_path / "big.toml").write_text("# x\n" * 1_000_001)
    with pytest.raises(InputError, match="larger than"):
        SearchConfig.from_options({}, tmp_path / "big.toml")
    (tmp_path / "dots.toml").write_text("a." * 1_900_000 + "b = 1")
    with pytest.raises(InputError, match="a line of over"):
        SearchConfig.from_options({}, tmp_path / "dots.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 9_000)
    with pytest.raises(InputError, match="not valid TOML"):
        SearchConfig.from_options({}, tmp_path / "deep.toml")


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


def test_the_config_file_is_that_of_version_0_1_byte_for_byte(write, tmp_path):
    """Keys, order and values: OLD_CONFIG was written before options were split in two types."""
    typed = SearchConfig.from_options(
        {
            "backbone": "plain-8",
            "width": 4,
            "train_limit": 100,
            "validation_images": 60,
            "epochs": 4,
            "trials": 8,
            "grace_epochs": 1,
            "concurrent": 1,
            "out": "runs/old",
        }
    )
    assert tomli_w.dumps(typed.resolve().to_toml()) == OLD_CONFIG
    read = SearchConfig.from_options({}, write(OLD_CONFIG))
    assert tomli_w.dumps(read.resolve().to_toml()) == OLD_CONFIG
