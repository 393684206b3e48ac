"""Faults on real Ray: workers that die, a disk that refuses, trials that all fail alike."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.proposals import Proposals, better_trials

from search_spaces import Placement
from trials.data.splits import load_data
from trials.early_stopping.rule import EarlyStopping
from trials.files.durable import StorageError
from trials.on_ray import tune_runs
from trials.on_ray.tune_runs import run_trials
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.metrics import EpochMetrics
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


KILL, CRASH = signal.SIGKILL, signal.SIGSEGV


def dying(folder: Path, deaths: dict[int, list], without_checkpoint: tuple[int, ...] = ()):
    """Trains for real, but the process of a seed dies after an epoch by each of these signals."""

    def runner(spec, data, *, on_epoch, checkpoint, **options):
        def dies(metrics):
            on_epoch(metrics)
            for number, kind in enumerate(deaths.get(spec.seed, [])):
                mark = folder / f"{spec.seed}-death-{number}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), kind)

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


def test_a_trial_that_a_later_run_goes_on_with_keeps_its_checkpoint(cluster, data, tmp_path):
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    told = Proposals([spec(seed) for seed in range(3)], cut_off={1: 1})
    run_trials(told, data, stopping=None, resources=Resources(concurrent=1), files=files)
    assert told.ended == dict.fromkeys(range(3))
    assert told.epochs[1] == [1]
    (kept,) = files.checkpoints.iterdir()
    assert kept.name == files.checkpoint_name(spec(1), data.name)


def test_a_trial_whose_worker_dies_goes_on_and_one_that_dies_too_often_fails(
    cluster, data, tmp_path
):
    """Seed 0 dies once and goes on from its checkpoint. Seed 1 has none and dies twice."""
    files = TrialFiles(checkpoints=tmp_path / "checkpoints", weights=tmp_path / "weights")
    files.make_folders()
    runner = dying(tmp_path, {0: [KILL], 1: [KILL, CRASH]}, without_checkpoint=(1,))
    ends = run_on_ray(data, runner, files, seeds=3, max_failures=1)
    ears = Ears()
    run_in_process(TrialList([spec(0), spec(1), spec(2)], ended=ears), data)
    assert (ends[0], ends[2]) == (ears.ends[0], ears.ends[2])
    assert ends[1][1] == "the worker process died by SIGSEGV"
    assert ends[1][0] == ears.ends[1][0][:1]  # trained twice, told once
    assert list(files.checkpoints.iterdir()) == []
    names = sorted(path.name for path in files.weights.iterdir())
    assert names == ["trial-0000.safetensors", "trial-0002.safetensors"]


@pytest.mark.slow
def test_the_reason_says_by_which_signal_a_worker_has_died(cluster, data, tmp_path):
    kinds = [signal.SIGTERM, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, KILL]
    runner = dying(tmp_path, {seed: [kind] for seed, kind in enumerate(kinds)})
    ends = run_on_ray(data, runner, TrialFiles(), seeds=len(kinds), max_failures=0)
    reasons = [failure for _, (_, failure) in sorted(ends.items())]
    assert reasons[:-1] == [f"the worker process died by {kind.name}" for kind in kinds[:-1]]
    assert reasons[-1] == "the worker process died before it could say why, as by SIGKILL"


@pytest.mark.slow
def test_a_restarted_trial_counts_once_at_a_rung(cluster, data, tmp_path):
    """Two runs with early stopping, one of them with deaths, end alike. Trial 2 is an audit."""

    def lengths(runner, folder):
        folder.mkdir()
        ears = Ears()
        run_trials(
            TrialList(
                [replace(spec(n), placement=Placement(f"{n + 1:03b}")) for n in range(5)],
                ended=ears,
            ),
            data,
            stopping=EarlyStopping(metric="val_loss", mode="min", max_epochs=3, grace_epochs=1),
            resources=Resources(concurrent=1, max_failures=2),
            files=TrialFiles(checkpoints=folder),
            past=better_trials(30, 3),
            runner=runner,
        )
        return ears.ends

    undisturbed = lengths(run_trial, tmp_path / "a")
    assert [len(undisturbed[number][0]) for number in range(5)] == [1, 1, 3, 1, 1]
    assert lengths(dying(tmp_path, {0: [KILL], 2: [KILL]}), tmp_path / "b") == undisturbed


def test_a_worker_that_cannot_write_ends_the_run_and_leaves_its_trial_open(cluster, data, tmp_path):
    (tmp_path / "checkpoints").write_text("no folder")
    ears = Ears()
    trial_list = TrialList([spec(seed) for seed in range(6)], ended=ears)
    files = TrialFiles(checkpoints=tmp_path / "checkpoints")
    with pytest.raises(StorageError, match=r"on .*checkpoints.* cannot be written"):
        run_trials(trial_list, data, stopping=None, resources=Resources(concurrent=2), files=files)
    assert ears.ends == {}
    assert not trial_list.is_complete


def test_while_a_trial_waits_for_a_whole_gpu_no_other_trial_is_given_to_ray(tmp_path):
    """The calls of Ray, in the order in which it makes them. See also `test_gpus.py`."""
    ears, said = Ears(), []
    search = tune_runs._ProposerSearch(
        TrialList([spec(seed) for seed in range(3)], ended=ears),
        TrialFiles(),
        "digits",
        restarts=0,
        shares_gpu=True,
        say=said.append,
    )
    full = {"failure": "out of GPU memory: 2 GiB", "stops_run": False}
    given = {name: search.suggest(name) for name in ("a", "b")}
    assert [(config["number"], config["alone"]) for config in given.values()] == [
        (0, False),
        (1, False),
    ]
    search.on_trial_complete("a", full)
    assert (ears.ends, len(said)) == ({}, 1)
    again = search.suggest("a2")
    assert (again["number"], again["alone"]) == (0, True)
    assert search.suggest("c") is None, "it would take the part of the GPU that trial 1 leaves"
    search.on_trial_complete("b", {"failure": "other", "stops_run": False})
    assert search.suggest("c") is None
    metrics = dict.fromkeys(EpochMetrics.__annotations__, 1)
    search.on_trial_result("a2", metrics)
    assert search.suggest("c")["number"] == 2, "trial 0 has begun"
    search.on_trial_complete("a2", full)
    assert ears.ends[1] == ([], "other")
    alone = "out of GPU memory: 2 GiB, alone on the card; lower --width or the batch size"
    assert ears.ends[0][1] == alone
    assert len(ears.ends[0][0]) == len(said) == 1


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
