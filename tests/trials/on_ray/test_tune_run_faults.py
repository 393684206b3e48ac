"""Faults on real Ray: workers that die, a disk that refuses, trials that all fail alike."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from trials.data.splits import load_data
from trials.files.durable import StorageError
from trials.on_ray.tune_runs import run_trials
from trials.running.early_stopping import EarlyStopping
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec


def spec(seed, **options):
    recipe = Recipe(epochs=3, batch_size=32)
    return TrialSpec(
        backbone="plain-5", width=2, placement="010", recipe=recipe, seed=seed, **options
    )


class Ears:
    def __init__(self):
        self.ends = {}

    def __call__(self, number, epochs, failure):
        assert number not in self.ends
        figures = [{k: v for k, v in m.to_json().items() if k != "seconds"} for m in epochs]
        self.ends[number] = (figures, failure)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=64, validation_images=20)


def dying(folder: Path, deaths: dict[int, int], without_checkpoint: tuple[int, ...] = ()):
    """Trains for real, but the process of a seed dies after each epoch, so often as is said."""

    def runner(spec, data, *, on_epoch, checkpoint, **options):
        def dies(metrics):
            on_epoch(metrics)
            for number in range(deaths.get(spec.seed, 0)):
                mark = folder / f"{spec.seed}-death-{number}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        if spec.seed in without_checkpoint:
            checkpoint = None
        return run_trial(spec, data, on_epoch=dies, checkpoint=checkpoint, **options)

    return runner


def run_on_ray(data, runner, files, *, seeds=2, **options):
    ears = Ears()
    trial_list = TrialList([spec(seed) for seed in range(seeds)], ended=ears)
    resources = Resources(concurrent=1, **options)
    run_trials(trial_list, data, stopping=None, resources=resources, files=files, runner=runner)
    return ears.ends


def test_a_trial_whose_worker_dies_goes_on_and_one_that_dies_too_often_fails(
    cluster, data, tmp_path
):
    """Seed 0 dies once and goes on from its checkpoint. Seed 1 has none and dies twice."""
    files = TrialFiles(checkpoints=tmp_path / "checkpoints", weights=tmp_path / "weights")
    files.make_folders()
    runner = dying(tmp_path, {0: 1, 1: 2}, without_checkpoint=(1,))
    ends = run_on_ray(data, runner, files, seeds=3, max_failures=1)
    ears = Ears()
    run_in_process(TrialList([spec(0), spec(1), spec(2)], ended=ears), data)
    assert (ends[0], ends[2]) == (ears.ends[0], ears.ends[2])
    assert ends[1][1] == "the worker process died before it could say why"
    assert ends[1][0] == ears.ends[1][0][:1]  # trained twice, told once
    assert list(files.checkpoints.iterdir()) == []
    names = sorted(path.name for path in files.weights.iterdir())
    assert names == ["trial-0000.safetensors", "trial-0002.safetensors"]


@pytest.mark.slow
def test_a_restarted_trial_counts_once_at_a_rung(cluster, data, tmp_path):
    """Two runs with early stopping, one of them with deaths, end alike."""

    def lengths(runner, folder):
        folder.mkdir()
        ears = Ears()
        run_trials(
            TrialList([spec(seed) for seed in range(5)], ended=ears),
            data,
            stopping=EarlyStopping(metric="val_loss", mode="min", max_epochs=3, grace_epochs=1),
            resources=Resources(concurrent=1, max_failures=2),
            files=TrialFiles(checkpoints=folder),
            runner=runner,
        )
        return ears.ends

    undisturbed = lengths(run_trial, tmp_path / "a")
    assert {len(figures) for figures, _ in undisturbed.values()} == {1, 3}
    assert lengths(dying(tmp_path, {0: 1, 1: 1}), tmp_path / "b") == undisturbed


def test_a_worker_that_cannot_write_ends_the_run_and_leaves_its_trial_open(cluster, data, tmp_path):
    (tmp_path / "checkpoints").write_text("no folder")
    ears = Ears()
    trial_list = TrialList([spec(seed) for seed in range(6)], ended=ears)
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    with pytest.raises(StorageError, match=r"on .*checkpoints.* cannot be written"):
        run_trials(trial_list, data, stopping=None, resources=Resources(concurrent=2), files=files)
    assert ears.ends == {}
    assert not trial_list.is_complete


def alike(spec, data, **options):
    raise FileNotFoundError("no such data on this node")


def test_when_all_trials_fail_alike_the_run_stops_after_a_few(cluster, data):
    with pytest.raises(RunStoppedError, match="3 trials in a row failed the same way: FileNotF"):
        run_on_ray(data, alike, TrialFiles(), seeds=30)
    ears = Ears()
    trial_list = TrialList([spec(seed) for seed in range(30)], ended=ears)
    with pytest.raises(RunStoppedError, match="in a row"):
        run_in_process(
            trial_list, data, runner=lambda *_, **__: type("Result", (), {"failure": "no data"})
        )
    assert ears.ends == {}
    assert not trial_list.is_complete


def test_what_the_proposer_raises_ends_the_run(cluster, data):
    def ended(number, epochs, failure):
        raise ZeroDivisionError("in the proposer")

    trial_list = TrialList([spec(seed) for seed in range(9)], ended=ended)
    with pytest.raises(ZeroDivisionError, match="in the proposer"):
        run_trials(trial_list, data, stopping=None, resources=Resources(concurrent=1))
