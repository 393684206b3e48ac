"""Runs of a reproduction: the protocol, interruptions, failed and diverged runs, other settings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.judging import Runner, files_under, read_rows, write_digits
from helpers.reproducing import level, refuse, reproduced, small

from relu_search.reproduce.agreement import compare_with_paper
from relu_search.reproduce.comparison import write_comparison
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.run_experiment import reproduce
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.data.held_out import load_paper_protocol
from trials.files import memory
from trials.running.resources import Resources
from trials.running.trial import run_trial
from trials.training.recipe import Recipe


def test_every_planned_run_is_trained_by_the_papers_protocol(tmp_path):
    runner = Runner(accuracy=level)
    seen = []

    def watch(spec, data, *, save_to, **options):
        seen.append(data)
        assert save_to is None
        return runner(spec, data, save_to=save_to, **options)

    done = reproduced(small(train_limit=200), tmp_path / "new", watch)
    assert done.is_complete
    assert done.num_classes == {"digits": 10}
    paper = load_paper_protocol("digits", train_limit=200)
    for data in seen:
        np.testing.assert_array_equal(data.train.images, paper.train.images)
        np.testing.assert_array_equal(data.validation.images, paper.validation.images)
    for spec in runner.specs:
        assert spec.recipe == Recipe.named("paper", 2)
        assert spec.width == 2
    rows = read_rows(tmp_path / "new" / "runs.csv")
    keys = [(r["backbone"], r["module"], int(r["seed"])) for r in rows]
    assert keys == [
        (b, m, s) for b in ("plain-5", "plain-8") for s in (0, 1) for m in ("paired", "2:1")
    ]
    for row in rows:
        assert float(row["test_accuracy"]) == level(row["placement"], int(row["seed"]))
        assert (row["state"], row["epochs"], row["data"]) == ("COMPLETE", "2", "digits")
    curves = read_rows(tmp_path / "new" / "curves.csv")
    assert Counter((c["backbone"], c["module"], c["seed"]) for c in curves) == dict.fromkeys(
        [(b, m, str(s)) for b, m, s in keys], 2
    )


def test_a_reproduction_that_was_interrupted_goes_on(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(KeyboardInterrupt):
        reproduced(small(), folder, Runner(stop_after=3))
    assert len(read_rows(folder / "runs.csv")) == 3
    second = Runner()
    assert reproduced(small(), folder, second).is_complete
    assert len(second.calls) == 5
    whole = tmp_path / "whole"
    reproduced(small(), whole, Runner())
    for name in ("runs.csv", "curves.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    before = files_under(folder)
    reproduced(small(), folder, refuse)
    assert files_under(folder) == before


def test_a_reproduction_on_a_folder_goes_on_from_another_working_directory(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    write_digits(Path("images"))
    reproduced(small(data="parquet:images"), "out", Runner())
    for table in ("runs.csv", "curves.csv", "reproduce.toml"):  # as an older version wrote them
        file = Path("out", table)
        file.write_text(file.read_text().replace(f"parquet:{tmp_path}/first/", "parquet:"))
    reproduced(small(data="parquet:images"), "out", refuse)
    monkeypatch.chdir(tmp_path / "second")
    reproduced(small(data="parquet:../first/images"), "../first/out", refuse)
    write_digits(Path("images"))
    with pytest.raises(InputError, match=r"other settings \(data 'parquet:.*first/images'\)"):
        reproduced(small(data="parquet:images"), "../first/out", refuse)


def test_more_seeds_and_depths_join_the_earlier_runs(tmp_path):
    folder = tmp_path / "new"
    reproduced(small(), folder, Runner())
    before = (folder / "runs.csv").read_text().splitlines()
    runner = Runner()
    reproduced(small(seeds=3, depths=(5, 8, 11)), folder, runner)
    after = (folder / "runs.csv").read_text().splitlines()
    assert after[: len(before)] == before
    assert len(runner.calls) == 2 + 2 + 6
    rows = compare_with_paper(small(seeds=3), pd.read_csv(folder / "runs.csv"))
    assert {row.ours.n for row in rows} == {3}


@pytest.mark.parametrize(
    "change",
    [{"epochs": 3}, {"width": 4}, {"train_limit": 50}, {"experiment": "figure6", "depths": (8,)}],
    ids=str,
)
def test_a_folder_with_other_settings_is_left_alone(change, tmp_path):
    reproduced(small(), tmp_path / "new", Runner())
    before = files_under(tmp_path)
    with pytest.raises(InputError, match="other settings"):
        reproduced(small(**change), tmp_path / "new", refuse)
    assert files_under(tmp_path) == before


def test_a_diverged_run_is_scored_at_chance_and_not_repeated(tmp_path):
    folder = tmp_path / "new"
    failing = {("010", 1): "diverged: training loss became nan in epoch 2"}
    done = reproduced(small(), folder, Runner(failing=failing))
    (row,) = [r for r in read_rows(folder / "runs.csv") if r["state"] == "DIVERGED"]
    assert (row["backbone"], row["module"], row["seed"]) == ("plain-5", "2:1", "1")
    assert (float(row["test_accuracy"]), row["test_loss"]) == (0.1, "")
    reproduced(small(), folder, refuse)
    comparison = write_comparison(small(), done)
    assert any(line.startswith("1 runs diverged, scored at chance") for line in comparison.lines)
    found = {(r.backbone, r.module): r.ours for r in comparison.rows}
    first = Runner().accuracy("010", 0)
    assert found["plain-5", "2:1"].mean == pytest.approx(100 * (first + 0.1) / 2)


def test_a_failed_run_is_said_left_out_and_tried_again(tmp_path):
    folder = tmp_path / "new"
    done = reproduced(small(), folder, Runner(failing={("010", 1): "ValueError: x"}))
    comparison = write_comparison(small(), done)
    assert any(line.startswith("1 runs failed") for line in comparison.lines)
    assert ("plain-5", "2:1") not in {(r.backbone, r.module) for r in comparison.rows}
    again = Runner()
    reproduced(small(), folder, again)
    assert again.calls == [("010", 1)]
    assert {r["state"] for r in read_rows(folder / "runs.csv")} == {"COMPLETE"}


def test_the_curves_hold_each_epoch_once_also_after_a_failed_run(tmp_path):
    folder = tmp_path / "new"
    reproduced(small(), folder, Runner(failing={("010", 1): "ValueError: x"}))
    reproduced(small(), folder, Runner())
    curves = read_rows(folder / "curves.csv")
    found = Counter((c["backbone"], c["module"], c["seed"], c["epoch"]) for c in curves)
    assert max(found.values()) == 1


def test_two_data_sets_are_both_run_and_an_interruption_in_the_first_leaves_the_second(
    tmp_path, monkeypatch
):
    """Table II has two data sets; here both are the digits under other names."""

    def digits(name, **_options):
        return replace(load_paper_protocol("digits"), name=name)

    monkeypatch.setattr("relu_search.reproduce.run_experiment.load_paper_protocol", digits)
    settings = ReproduceSettings(experiment="table2", depths=(8,), width=2, epochs=1, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        reproduced(settings, tmp_path / "new", Runner(stop_after=3))
    reproduced(settings, tmp_path / "new", Runner())
    rows = read_rows(tmp_path / "new" / "runs.csv")
    assert Counter((r["data"], r["module"]) for r in rows) == {
        (d, m): 2 for d in ("cifar10", "cifar100") for m in ("paired", "2:1/first")
    }


@pytest.mark.slow
def test_over_ray_a_reproduction_is_that_of_this_process(tmp_path):
    settings = small(depths=(5,), epochs=1, train_limit=40)
    workers = Machines(resources=Resources(concurrent=2, cpus_per_trial=0.5))
    reproduce(settings, out=str(tmp_path / "ray"), compute=workers)
    reproduced(settings, tmp_path / "here", run_trial)

    def table(name):
        rows = read_rows(tmp_path / name / "runs.csv")
        return {(r["module"], r["seed"]): (r["test_accuracy"], r["test_loss"]) for r in rows}

    assert table("ray") == table("here")
    assert len(table("ray")) == 4


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_of_gpus_in_a_process_without_one_is_refused_before_anything_is_written(
    precision, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = tmp_path / "new"
    with pytest.raises(InputError, match=rf"{precision} needs a GPU.*use fp32"):
        reproduce(small(precision=precision), out=str(folder), compute=Machines(in_process=True))
    assert not folder.exists()


def test_a_network_that_does_not_fit_into_memory_is_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "memory_limit", lambda: 1_000)
    with pytest.raises(InputError, match="training plain-5, width 2 would take"):
        reproduced(small(), tmp_path / "new", refuse)
    assert not (tmp_path / "new").exists()
