"""Cards, weights and run folders that someone has been at: a value or one clear line."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import tomli_w
from helpers.hostile import FEW, MANY, clean, corrupted, mutated
from helpers.replay import RUN_RECORD
from hypothesis import given, settings
from hypothesis import strategies as st

from relu_search import RunFolder, SearchConfig, export_model, load_exported
from relu_search.analysis.answer import report_text
from relu_search.export.card import read_card
from relu_search.report.run_report import write_report
from relu_search.run_folder.tables import COLUMNS, read_table
from search_spaces import InputError, build

TABLES = ("trials.csv", "epochs.csv", "config.toml")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    export_model(build("plain-8", "2:1", width=2), folder, details={"image_size": [8, 8]})
    return folder


@pytest.fixture
def run(tmp_path):
    """A run folder with two trials."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_config(SearchConfig(backbone="plain-8", epochs=2).resolve(), RUN_RECORD)
    row = dict.fromkeys(COLUMNS["trials.csv"], 1) | {
        "state": "COMPLETE",
        "module": "2:1",
        "placement": "01*3",
        "ratio": "2:1",
        "val_accuracy": 0.5,
        "reason": "",
    }
    rows = [row, {**row, "trial": 2, "module": "", "placement": "1*6", "state": "FAIL"}]
    epochs = [dict.fromkeys(COLUMNS["epochs.csv"], 1) | {"epoch": e} for e in (1, 2)]
    folder.start_tables(rows, epochs)
    return folder


def fuzz_cards(how: settings, folder, tmp_path):
    card = json.loads((folder / "card.json").read_text())
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = (copy / "model.safetensors").read_bytes()

    @how
    @given(mutated(card))
    def documents(document):
        (copy / "card.json").write_text(json.dumps(document))
        clean(lambda: read_card(copy))
        clean(lambda: load_exported(copy))

    @how
    @given(corrupted(json.dumps(card).encode()))
    def texts(content):
        (copy / "card.json").write_bytes(content)
        clean(lambda: load_exported(copy))

    @how
    @given(corrupted(weights))
    def tensors(content):
        (copy / "card.json").write_text(json.dumps(card))
        (copy / "model.safetensors").write_bytes(content)
        if content != weights:
            assert clean(lambda: load_exported(copy)) is None

    documents()
    texts()
    tensors()


def fuzz_runs(how: settings, run, tmp_path):
    good = {name: (run.path / name).read_bytes() for name in TABLES}
    config = RunFolder(run.path).read_config()

    def restore():
        for name, content in good.items():
            (run.path / name).write_bytes(content)

    @how
    @given(st.sampled_from(TABLES), st.data())
    def files(name, data):
        restore()
        (run.path / name).write_bytes(data.draw(corrupted(good[name])))
        clean(lambda: report_text(RunFolder.open(run.path)))
        clean(RunFolder(run.path).read_epochs)

    @how
    @given(mutated({**config[0].to_toml(), "record": config[1]}))
    def configs(document):
        restore()
        try:
            text = tomli_w.dumps(document)
        except (TypeError, ValueError):  # TOML has no null
            return
        (run.path / "config.toml").write_text(text, errors="replace")
        clean(lambda: report_text(RunFolder.open(run.path)))

    @how
    @given(st.sampled_from(sorted(COLUMNS)), st.data())
    def tables(name, data):
        header = ",".join(COLUMNS[name]) + "\r\n"
        row = ",".join("1" for _ in COLUMNS[name]) + "\r\n"
        (tmp_path / name).write_bytes(data.draw(corrupted((header + row * 3).encode())))
        clean(lambda: read_table(tmp_path / name))

    files()
    configs()
    tables()
    restore()


def test_hostile_cards(exported, tmp_path):
    fuzz_cards(FEW, exported, tmp_path)


def test_hostile_run_folders(run, tmp_path):
    fuzz_runs(FEW, run, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_hostile_cards(exported, tmp_path):
    fuzz_cards(MANY, exported, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_hostile_run_folders(run, tmp_path):
    fuzz_runs(MANY, run, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_report_of_a_hostile_run(run):
    good = {name: (run.path / name).read_bytes() for name in TABLES}

    @settings(FEW, max_examples=60)
    @given(st.sampled_from(TABLES), st.data())
    def reports(name, data):
        for other, content in good.items():
            (run.path / other).write_bytes(content)
        (run.path / name).write_bytes(data.draw(corrupted(good[name])))
        clean(lambda: write_report(RunFolder.open(run.path)))

    reports()


def test_a_card_that_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "card.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_card(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_of_a_card_are_finite(number, exported, tmp_path):
    text = (
        (exported / "card.json").read_text().replace('"params": ', f'"odd": {number}, "params": ')
    )
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(InputError, match="not a finite number"):
        read_card(tmp_path)
