"""Entries of cards and run folders: other digits, texts that act, odd files in their place."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from helpers.hostile import (
    FEW,
    MANY,
    acting,
    bounded,
    clean,
    corrupted,
    digits,
    make_odd,
    mutated,
    names,
    odd_files,
)
from helpers.replay import RUN_RECORD
from helpers.trial_tables import rows_like
from hypothesis import given, settings
from hypothesis import strategies as st

from relu_search import RunFolder, SearchConfig, export_model, load_exported
from relu_search.cli.app import main
from relu_search.export.from_run import export_from
from relu_search.report.run_report import write_report
from relu_search.run_folder.tables import COLUMNS, read_table
from search_spaces import build
from trials.files.paths import readable

TABLES = ("trials.csv", "epochs.csv", "confirm.csv", "verdict.csv", "supernet.csv")
FILES = (*TABLES, "config.toml", "figures", "report.html", "best", "weights", ".lock")


@pytest.fixture
def run(tmp_path):
    """A run folder of three trials, as a stranger may send it."""
    run = RunFolder(tmp_path / "good")
    run.path.mkdir()
    run.write_config(SearchConfig(backbone="plain-8", epochs=2).resolve(), RUN_RECORD)
    rows = rows_like({"epochs": 2}, {"module": "2:1", "epochs": 2}, {"state": "FAIL"})
    epochs = [
        {"trial": t, "epoch": e, "val_loss": 1.0, "val_accuracy": 0.5}
        for t in (0, 1)
        for e in (1, 2)
    ]
    run.start_tables(rows, epochs)
    for name in TABLES[2:]:
        row = dict.fromkeys(COLUMNS[name], "1") | {"state": "COMPLETE", "placement": "01*3"}
        with run.table(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS[name], extrasaction="ignore")
            writer.writeheader()
            writer.writerows([row, row | {"arm": "2", "seed": "2"}])
    return run


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "exported"
    export_model(build("plain-8", "2:1", width=2), folder, details={"image_size": [8, 8]})
    return folder


cells = st.one_of(digits, acting, st.text(max_size=20))


def spoilt(table: bytes, row: int, column: int, value: str) -> bytes:
    """A CSV table with another value in one of its cells."""
    rows = list(csv.reader(io.StringIO(table.decode())))
    rows[1 + row % (len(rows) - 1)][column % len(rows[0])] = value
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="replace")


def check_command(arguments, capfd):
    """Exit code 0 or 2; one line if it is 2; nothing that acts on a terminal."""
    capfd.readouterr()
    with bounded(), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert end.value.code in (0, 2), err
    assert all(c.isprintable() or c == "\n" for c in out + err), repr(out + err)
    if end.value.code == 2:
        assert (out, err.count("\n")) == ("", 1)


def fuzz_runs(how: settings, run, tmp_path, capfd, options=("--no-page",)):
    @how
    @given(st.sampled_from(TABLES), st.integers(0, 9), st.integers(0, 40), cells)
    def tables(name, row, column, value):
        good = run.table(name).read_bytes()
        try:
            run.table(name).write_bytes(spoilt(good, row, column, value))
            clean(lambda: read_table(run.table(name)))
            check_command(["report", run.path, "--no-page"], capfd)
        finally:
            run.table(name).write_bytes(good)

    @how
    @given(st.sampled_from(FILES), odd_files, names, st.sampled_from(options))
    def entries(name, kind, folder, option):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        place = tmp_path / "runs" / folder.decode(errors="surrogateescape")
        shutil.copytree(run.path, place)
        make_odd(place / name, kind)
        check_command(["report", place, option], capfd)
        assert readable(place.name).isprintable()

    tables()
    entries()


def fuzz_pages(how: settings, run, capfd):
    @how
    @given(st.sampled_from(TABLES), st.integers(0, 9), st.integers(0, 40), cells)
    def pages(name, row, column, value):
        good = run.table(name).read_bytes()
        try:
            run.table(name).write_bytes(spoilt(good, row, column, value))
            check_command(["report", run.path], capfd)
        finally:
            run.table(name).write_bytes(good)

    pages()


def fuzz_cards(how: settings, exported, tmp_path):
    card = json.loads((exported / "card.json").read_text())
    weights = (exported / "model.safetensors").read_bytes()
    copy = tmp_path / "copy"
    wide = st.sampled_from(
        [{"width": 1024}, {"image_size": [4096, 4096]}, {"num_classes": 100_000}]
    )

    @how
    @given(mutated(card), st.sampled_from([{}, *card]), wide, st.booleans(), cells)
    def documents(document, key, size, is_wide, value):
        copy.mkdir(exist_ok=True)
        document |= size if is_wide else {}
        text = json.dumps(document)
        if key and not is_wide:
            text = text.replace(json.dumps(card[key]), value, 1)
        (copy / "card.json").write_text(text, errors="replace")
        (copy / "model.safetensors").write_bytes(weights)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        if "4096" not in text:  # a large machine would export it
            clean(lambda: export_from(str(copy), str(tmp_path / "out"), ["safetensors"]))
        shutil.rmtree(copy)

    @how
    @given(st.sampled_from(["card.json", "model.safetensors"]), odd_files, st.data())
    def files(name, kind, data):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(exported, copy)
        if data.draw(st.booleans()):
            make_odd(copy / name, kind)
        else:
            (copy / name).write_bytes(data.draw(corrupted((copy / name).read_bytes())))
        clean(lambda: load_exported(copy))

    documents()
    files()


def test_hostile_entries(run, exported, tmp_path, capfd):
    few = settings(FEW, max_examples=12)
    fuzz_runs(few, run, tmp_path, capfd)
    fuzz_cards(few, exported, tmp_path)


def test_an_old_confirmation_without_a_comparison_has_a_page(run):
    assert write_report(run).is_file()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_hostile_entries(run, exported, tmp_path, capfd):
    many = settings(MANY, max_examples=250)
    fuzz_runs(many, run, tmp_path, capfd, ("--no-page", "--no-page", "--json"))
    fuzz_pages(settings(many, max_examples=100), run, capfd)
    fuzz_cards(many, exported, tmp_path)
