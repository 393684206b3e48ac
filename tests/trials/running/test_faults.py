"""Faults over the real Ray: workers that die, a disk that refuses, everything failing alike."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from trials.data.splits import load_data
from trials.files.durable import StorageError
from trials.on_ray.tune_runs import run_trials
from trials.running.early_stopping import EarlyStopping
from trials.running.faults import CommonCause, RunStoppedError
from trials.running.proposals import Proposal
from trials.running.resources import Resources
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.metrics import DIVERGED
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


def dying(folder: Path, times: int):
    """Trains for real, but the process of seeds 0 and 1 dies after each epoch, up to `times`."""

    def runner(spec, data, *, on_epoch, **options):
        def dies(metrics):
            on_epoch(metrics)
            for number in range(times if spec.seed < 2 else 0):
                mark = folder / f"{spec.seed}-death-{number}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        return run_trial(spec, data, on_epoch=dies, **options)

    return runner


def run_on_ray(data, runner, files, *, seeds=2, **options):
    ears = Ears()
    trial_list = TrialList([spec(seed) for seed in range(seeds)], ended=ears)
    resources = Resources(concurrent=1, **options)
    run_trials(trial_list, data, stopping=None, resources=resources, files=files, runner=runner)
    return ears.ends


def test_a_trial_whose_worker_dies_goes_on_from_its_last_epoch(cluster, data, tmp_path):
    files = TrialFiles(checkpoints=tmp_path / "checkpoints", weights=tmp_path / "weights")
    files.make_folders()
    (tmp_path / "1-death-0").touch()
    (tmp_path / "1-death-1").touch()
    ends = run_on_ray(data, dying(tmp_path, 2), files, max_failures=2)
    ears = Ears()
    run_in_process(TrialList([spec(0), spec(1)], ended=ears), data)
    assert ends == ears.ends
    assert list(files.checkpoints.iterdir()) == []
    assert len(list(files.weights.iterdir())) == 2


def test_a_worker_that_dies_too_often_fails_its_trial_and_the_next_one_runs(
    cluster, data, tmp_path
):
    (tmp_path / "1-death-0").touch()
    (tmp_path / "1-death-1").touch()
    ends = run_on_ray(data, dying(tmp_path, 2), TrialFiles(), max_failures=1)
    assert ends[0][1] == "the worker process died before it could say why"
    assert len(ends[0][0]) == 1  # without checkpoints it begins anew: epoch 1, twice, heard once
    assert ends[1][1] is None


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
    assert lengths(dying(tmp_path, 1), tmp_path / "b") == undisturbed


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


NAN = f"{DIVERGED}: nan"


@pytest.mark.parametrize(
    ("reasons", "concluded", "stops"),
    [
        (["a", "a", "a"], "", True),
        (["a", "a"], "", False),
        (["a", "b", "a", "b"], "012", False),
        (["a", "a", None, "a", "a", None, "a"], "012345", False),
        ([None, None, None, None], "0123", False),
        ([NAN] * 5, "01234", False),
        (["a", "a", NAN, "a", "b", "b", "b"], "0123", True),
    ],
    ids=str,
)
def test_a_common_cause_is_the_same_reason_three_times_in_a_row(reasons, concluded, stops):
    """Those that failed by it stay open; the others are concluded in their order."""
    ended = []
    common_cause = CommonCause(lambda proposal, failure: ended.append((proposal.number, failure)))
    proposals = [Proposal(number=n, spec=spec(n)) for n in range(len(reasons))]
    for proposal, reason in zip(proposals[:-1], reasons[:-1], strict=True):
        common_cause.ended(proposal, reason)
    with pytest.raises(RunStoppedError) if stops else contextlib.nullcontext():
        common_cause.ended(proposals[-1], reasons[-1])
    assert ended == [(int(n), reasons[int(n)]) for n in concluded]
    if not stops:
        common_cause.release()
        assert ended == list(enumerate(reasons))
