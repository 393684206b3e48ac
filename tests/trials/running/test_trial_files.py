"""A training that was cut off goes on behind its last epoch, and ends as if it had not been."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from trials.data.splits import load_data
from trials.files.durable import StorageError
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

SPEC = TrialSpec(
    backbone="resnet-8", width=2, placement="2:1", recipe=Recipe(epochs=4, batch_size=32), seed=3
)


class CutOff(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=64, validation_images=20)


@pytest.fixture
def files(tmp_path):
    made = TrialFiles(checkpoints=tmp_path / "checkpoints")
    made.make_folders()
    return made


def cut_off_after(epoch):
    def on_epoch(metrics):
        if metrics.epoch == epoch:
            raise CutOff

    return on_epoch


def figures(epochs):
    return [{k: v for k, v in m.to_json().items() if k != "seconds"} for m in epochs]


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("cuts", "activation"),
    [((1,), "relu"), ((1, 2, 3), "rrelu"), ((3,), "prelu"), ((4,), "rrelu"), ((2,), "crelu")],
    ids=str,
)
def test_a_training_that_goes_on_equals_one_that_never_stopped(cuts, activation, data, files):
    backbone = "plain-8" if activation == "crelu" else "resnet-8"
    spec = replace(SPEC, backbone=backbone, activation=activation)
    whole = run_trial(spec, data)
    checkpoint = files.checkpoint_of(spec, data)
    for epoch in cuts:
        with pytest.raises(CutOff):
            run_trial(spec, data, checkpoint=checkpoint, on_epoch=cut_off_after(epoch))
    heard = []
    ended = run_trial(spec, data, checkpoint=checkpoint, on_epoch=heard.append)
    assert figures(ended.epochs) == figures(whole.epochs) == figures(heard)
    assert equal(ended.model, whole.model)


def test_no_finished_epoch_is_trained_again(data, files, monkeypatch):
    trained = []

    def watch(*arguments):
        trained.append(arguments[-1])
        return original(*arguments)

    from trials.training import loop as training

    original = training.train_epoch
    monkeypatch.setattr(training, "train_epoch", watch)
    checkpoint = files.checkpoint_of(SPEC, data)
    for epoch in (2, 3, 4):
        with pytest.raises(CutOff):
            run_trial(SPEC, data, checkpoint=checkpoint, on_epoch=cut_off_after(epoch))
    weights = files.checkpoints / "weights.safetensors"
    ended = run_trial(SPEC, data, checkpoint=checkpoint, save_to=weights)
    assert trained == [1, 2, 3, 4]
    assert all(
        torch.equal(value, ended.model.state_dict()[name])
        for name, value in load_file(weights).items()
    )


DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "no metadata": lambda path: save_file(load_file(path), path),
    "a tensor lost": lambda path: save_file(
        dict(list(load_file(path).items())[1:]), path, {"key": "?"}
    ),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_costs_time_and_nothing_else(damage, data, files):
    checkpoint = files.checkpoint_of(SPEC, data)
    with pytest.raises(CutOff):
        run_trial(SPEC, data, checkpoint=checkpoint, on_epoch=cut_off_after(2))
    DAMAGES[damage](checkpoint.path)
    ended = run_trial(SPEC, data, checkpoint=checkpoint)
    assert figures(ended.epochs) == figures(run_trial(SPEC, data).epochs)


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"placement": "paired"}, {"recipe": Recipe(epochs=5)}, {"activation": "elu"}],
    ids=str,
)
def test_another_training_never_takes_a_checkpoint_over(change, data, files):
    other = replace(SPEC, **change)
    mine, theirs = files.checkpoint_of(SPEC, data), files.checkpoint_of(other, data)
    assert mine.path != theirs.path
    with pytest.raises(CutOff):
        run_trial(SPEC, data, checkpoint=mine, on_epoch=cut_off_after(2))
    mine.path.rename(theirs.path)
    assert figures(run_trial(other, data, checkpoint=theirs).epochs) == figures(
        run_trial(other, data).epochs
    )


def test_a_checkpoint_is_of_just_these_images(data, files):
    other = load_data("digits", train_limit=64, validation_images=20, seed=1)
    assert files.checkpoint_of(SPEC, data).path == files.checkpoint_of(SPEC, other).path
    assert files.checkpoint_of(SPEC, data).key != files.checkpoint_of(SPEC, other).key


def test_a_checkpoint_that_cannot_be_written_ends_the_training(data, files):
    checkpoint = files.checkpoint_of(SPEC, data)
    checkpoint.path.mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        run_trial(SPEC, data, checkpoint=checkpoint)
    files.checkpoints.joinpath(checkpoint.path.name).rmdir()
    assert list(files.checkpoints.iterdir()) == []
