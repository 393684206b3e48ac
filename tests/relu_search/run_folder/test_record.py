"""The record of a run: every fact has its type, or one line says which has not."""

from __future__ import annotations

import copy
import os

import pytest
import tomli_w
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from search_spaces import InputError


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_config(SearchConfig(backbone="plain-8", epochs=2).resolve(), RUN_RECORD)
    return folder


BAD = {
    "study": [5, ["a"], True],
    "space_size": [63, float("nan")],
    "versions": ["1", ["1"], {"torch": 2}],
    "data.name": [1],
    "data.classes": [5, "ab", ["a"], [1, 2], {"a": 1}],
    "data.in_channels": [2, True, 3.0, "3"],
    "data.image_size": [8, [8], [8, 8, 8], [8, 5000], [8.0, 8], [0, 8], ["8", "8"]],
    "data.mean": [0.5, [float("inf")], [float("nan")], ["a"], [0.5, 0.5], [True]],
    "data.std": [[0.0], [-1.0], [float("inf")], [], "1"],
    "data.split_digest": [0],
    "data.train_images": [0, -1, 1.5, float("inf"), "9", True],
    "data.validation_images": [0, float("nan")],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_fact_of_another_type_is_refused(name, value, run):
    record = copy.deepcopy(RUN_RECORD)
    holder = record["data"] if name.startswith("data.") else record
    holder[name.removeprefix("data.")] = value
    run.write_config(SearchConfig(backbone="plain-8", epochs=2).resolve(), record)
    with pytest.raises(InputError, match=name.removeprefix("data.")):
        run.read_config()


def test_whole_numbers_of_any_length_are_refused(run):
    config = SearchConfig(backbone="plain-8", epochs=2).resolve().to_toml()
    for digits in ("9" * 400, "0x" + "f" * 9_000):
        text = tomli_w.dumps({**config, "record": RUN_RECORD})
        text = text.replace("train_images = 20", f"train_images = {digits}")
        (run.path / "config.toml").write_text(text)
        with pytest.raises(InputError, match=r"whole number of \d+ bits; write at most 64"):
            run.read_config()


@pytest.mark.timeout(20)
def test_a_config_that_is_a_fifo_is_not_waited_for(run):
    (run.path / "config.toml").unlink()
    os.mkfifo(run.path / "config.toml")
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(run.path)
    with pytest.raises(InputError, match="not a regular file"):
        run.read_config()
