"""The options of a search as typed: what is refused, and what a TOML file may hold."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from relu_search import SearchConfig, run_search
from search_spaces import InputError


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 0}, "width"),
        ({"width": 1025}, "width"),
        ({"backbone": "resnet-9"}, "nearest"),
        ({"recipe": "fast"}, "'fast' is unknown"),
        ({"epochs": 0}, "epochs is 0"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        ({"trials": 10**6 + 1}, "at most 1000000"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": 2**31}, "at most 2147483647"),
        ({"grace_epochs": 0}, "grace epochs is 0"),
        ({"reduction_factor": 1}, "reduction factor is 1; it must be at least 1.01"),
        ({"reduction_factor": math.nan}, "reduction_factor is nan"),
        ({"reduction_factor": 101}, "at most 100"),
        ({"train_limit": 0}, "train limit is 0"),
        ({"validation_images": 0}, "validation images is 0"),
        ({"min_relus": -1}, "-1"),
        ({"min_relus": 5, "max_relus": 4}, "5 to 4"),
        ({"min_relus": 37}, "37"),
        ({"max_relus": 0}, "0"),
        ({"max_relus": "60 %x"}, "share"),
        ({"ratio": "2:1", "max_relus": 20}, "excludes other limits"),
        ({"sampler": "cma-es"}, "gp, tpe, nsga2, local, greedy"),
        ({"sampler": "grid", "granularity": "block"}, "coarser"),
        ({"sampler": "tpe", "granularity": "coarse-to-fine"}, "sampler gp"),
        ({"granularity": "layer"}, "network, stage, block, site"),
        ({"metric": "val_accuracy", "objective": "loss,relus"}, "exclude each other"),
        ({"objective": "speed"}, "accuracy,relus"),
        ({"norm": "drop", "search_norm": True}, "exclude each other"),
        ({"storage": "postgresql://me:s3@cret@db/x"}, "more than one @"),
        ({"cpus_per_trial": 0}, "CPUs per trial is 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_values_that_are_out_of_range_or_do_not_fit_together_are_refused(options, says):
    with pytest.raises(InputError, match=says) as caught:
        SearchConfig(**options)
    assert "\n" not in str(caught.value)


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        file = tmp_path / "options.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return to_file


def test_the_command_line_wins_over_the_file(write):
    file = write('backbone = "resnet-20"\ntrials = 9\nseed = 4\n')
    config = SearchConfig.from_options({"trials": 11, "seed": None}, file)
    assert (config.backbone, config.trials, config.seed) == ("resnet-20", 11, 4)


def test_a_file_may_write_keys_with_hyphens_and_what_was_typed_is_kept(write):
    config = SearchConfig.from_options({}, write('max-relus = "60%"\npack = "auto"\n'))
    assert (config.max_relus, config.pack, config.width) == ("60%", "auto", None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour = 1", "options.toml: unknown key 'colour'; the keys are activation"),
        ("[search]\ntrials = 3", "'search'"),
        ("trials = '9'", "whole number"),
        ("backbone = 38", "a text"),
        ("metric = ['val_loss']", "val_accuracy, val_loss"),
        ("min_relus = true", "a whole number or a text"),
    ],
)
def test_a_file_with_a_wrong_key_or_type_is_refused(text, says, write):
    with pytest.raises(InputError, match=says) as caught:
        SearchConfig.from_options({}, write(text))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_refused_also_without_a_file():
    with pytest.raises(InputError, match="unknown key 'colour'"):
        SearchConfig.from_options({"colour": "red"})


WRONG = [np.zeros((200, 200)), torch.nn.Linear(64, 64), [torch.nn.Linear(64, 64)], b"x"]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", [one.name for one in fields(SearchConfig)])
def test_a_value_of_another_type_is_one_short_line_that_names_its_option(name, value):
    with pytest.raises(InputError, match=f"^{name}|^{name.replace('_', ' ')}") as caught:
        SearchConfig(**{name: value})
    assert len(str(caught.value)) < 200
    assert "Linear(" not in str(caught.value)
    assert "0." not in str(caught.value)


def test_a_search_of_something_else_is_refused():
    with pytest.raises(InputError, match="config is 3; it must be a SearchConfig"):
        run_search(3)


@pytest.mark.parametrize(
    "options",
    [
        {"train_limit": 10**400},
        {"validation_images": 10**400},
        {"concurrent": 10**400},
        {"max_failures": 2**63},
        {"min_relus": -(10**400)},
        {"pack": "9" * 5_000},
        {"pack": "٨"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_whole_numbers_that_no_machine_can_count_are_refused(options):
    with pytest.raises(InputError):
        SearchConfig.from_options(options)


@pytest.mark.parametrize("option", ["out", "data", "data_dir", "exchange", "address", "storage"])
def test_bytes_that_are_no_utf_8_are_refused_before_anything_is_written(option):
    with pytest.raises(InputError, match="no UTF-8"):
        SearchConfig.from_options({option: "caf\udce9"})
