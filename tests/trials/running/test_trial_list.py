"""A list of trials: handed out in order, and run in this process as they would be on their own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from trials.data.splits import load_data, load_splits
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.metrics import EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RECIPE = Recipe(epochs=2, batch_size=32)


def spec(seed=0, placement="paired"):
    return TrialSpec(backbone="plain-5", width=2, placement=placement, recipe=RECIPE, seed=seed)


def metrics(epoch, value=0.5):
    return EpochMetrics(
        epoch=epoch,
        train_loss=value,
        train_accuracy=value,
        val_loss=value,
        val_accuracy=value,
        seconds=0.0,
    )


class Ears:
    def __init__(self):
        self.heard = []

    def __call__(self, number, epochs, failure):
        self.heard.append((number, epochs, failure))


def without_seconds(epochs):
    return [{k: v for k, v in e.to_json().items() if k != "seconds"} for e in epochs]


def test_trials_are_handed_out_in_order_and_once():
    specs = [spec(seed) for seed in (5, 3, 4)]
    trial_list = TrialList(iter(specs), ended=Ears())
    assert len(trial_list) == 3
    proposals = [trial_list.propose() for _ in range(3)]
    assert [p.number for p in proposals] == [0, 1, 2]
    assert [p.spec for p in proposals] == specs
    assert trial_list.propose() is None
    assert trial_list.propose() is None


def test_an_empty_list_is_complete():
    trial_list = TrialList([], ended=Ears())
    assert trial_list.is_complete
    assert trial_list.propose() is None


def test_ends_are_told_with_their_own_epochs_in_whatever_order_they_come():
    ears = Ears()
    trial_list = TrialList([spec(0), spec(1)], ended=ears)
    first, second = trial_list.propose().number, trial_list.propose().number
    trial_list.observe(second, metrics(1, 0.25))
    trial_list.observe(first, metrics(1, 0.75))
    trial_list.observe(second, metrics(2, 0.125))
    trial_list.conclude(second, None)
    trial_list.conclude(first, "ValueError: x")
    assert ears.heard == [
        (1, (metrics(1, 0.25), metrics(2, 0.125)), None),
        (0, (metrics(1, 0.75),), "ValueError: x"),
    ]


def test_a_list_is_complete_when_all_have_ended():
    trial_list = TrialList([spec(0), spec(1)], ended=Ears())
    assert not trial_list.is_complete
    trial_list.propose()
    trial_list.propose()
    assert not trial_list.is_complete
    trial_list.conclude(0, None)
    assert not trial_list.is_complete
    trial_list.conclude(1, "failed")
    assert trial_list.is_complete


def test_trials_that_are_not_wanted_any_more_are_left_out():
    """Asked just before the start, so that what ended before can decide."""
    unwanted = set()
    trial_list = TrialList(
        [spec(seed) for seed in range(4)], ended=Ears(), wanted=lambda n: n not in unwanted
    )
    assert trial_list.propose().number == 0
    unwanted |= {0, 1, 3}
    assert trial_list.propose().number == 2
    trial_list.conclude(0, None)  # unwanted, but it was running
    trial_list.conclude(2, None)
    assert trial_list.is_complete
    assert trial_list.propose() is None


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", (0, 1), train_limit=40)


def test_in_process_each_trial_is_a_direct_run_on_the_split_of_its_seed(splits, tmp_path):
    specs = [spec(1), spec(0, "linear"), spec(0)]
    ears = Ears()
    trial_list = TrialList(specs, ended=ears)
    run_in_process(trial_list, splits, files=TrialFiles(weights=tmp_path))
    assert trial_list.is_complete
    assert [number for number, _, _ in ears.heard] == [0, 1, 2]
    for (number, epochs, failure), one in zip(ears.heard, specs, strict=True):
        alone = run_trial(one, load_data("digits", train_limit=40, seed=one.seed))
        assert failure is None
        assert without_seconds(epochs) == without_seconds(alone.epochs)
        saved = load_file(tmp_path / f"trial-{number:04d}.safetensors")
        for name, value in alone.model.state_dict().items():
            assert torch.equal(saved[name], value)


def test_in_process_one_data_set_serves_all_seeds(splits):
    data, seen = splits.of(0), []

    def runner(spec, split, *, device, save_to, checkpoint, on_epoch):
        assert (device, save_to) == ("cpu", None)
        on_epoch(metrics(1, spec.seed / 8))
        seen.append(split is data)
        return SimpleNamespace(failure="diverged" if spec.seed else None)

    ears = Ears()
    run_in_process(TrialList([spec(0), spec(1)], ended=ears), data, runner=runner)
    assert seen == [True, True]
    assert ears.heard == [(0, (metrics(1, 0.0),), None), (1, (metrics(1, 0.125),), "diverged")]


def test_an_interruption_leaves_an_incomplete_list(splits):
    def runner(spec, split, **_options):
        if spec.seed:
            raise KeyboardInterrupt
        return SimpleNamespace(failure=None)

    ears = Ears()
    trial_list = TrialList([spec(0), spec(1), spec(0)], ended=ears)
    with pytest.raises(KeyboardInterrupt):
        run_in_process(trial_list, splits, runner=runner)
    assert [number for number, _, _ in ears.heard] == [0]
    assert not trial_list.is_complete


def test_weights_are_named_by_the_number(tmp_path):
    assert TrialFiles().weights_of(3) is None
    files = TrialFiles(weights=tmp_path)
    assert files.weights_of(3) == tmp_path / "trial-0003.safetensors"
    assert files.weights_of(12345) == tmp_path / "trial-12345.safetensors"
