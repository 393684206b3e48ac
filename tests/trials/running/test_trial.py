"""One whole training run: repeatable, fair between placements, and honest when it fails."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import trials
from search_spaces import InputError, module_placement
from trials import Recipe, TrialSpec, load_data, run_trial

RECIPE = Recipe(epochs=2, batch_size=16, schedule="one-cycle")
SPEC = TrialSpec(backbone="resnet-8", placement="paired", width=4, recipe=RECIPE, seed=1)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=70, validation_images=20)


@pytest.fixture(autouse=True)
def thread_count():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def metrics_of(result):
    return [{**m.to_json(), "seconds": 0} for m in result.epochs]


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- repeatability and fairness ---------------------------------------------------------------


def test_the_same_seed_twice_is_equal_to_the_bit(data):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    first = run_trial(SPEC, data)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    torch.manual_seed(2)
    second = run_trial(SPEC, data)
    assert metrics_of(first) == metrics_of(second)
    assert equal(first.model.state_dict(), second.model.state_dict())
    assert first.failure is None
    assert [m.epoch for m in first.epochs] == [1, 2]


def test_another_seed_is_another_run(data):
    assert metrics_of(run_trial(SPEC, data)) != metrics_of(run_trial(replace(SPEC, seed=2), data))


def test_training_runs_on_one_thread_and_gives_the_others_back_after_an_exception(data):
    torch.set_num_threads(2)
    seen = []

    def stop(metrics):
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(SPEC, data, on_epoch=stop)
    assert seen == [1]
    assert torch.get_num_threads() == 2


def test_placements_share_initial_weights_and_batches(data, monkeypatch):
    runs = []

    def spy(model, *args, **options):
        batches = []
        model.register_forward_pre_hook(lambda _, x: batches.append(x[0].clone()))
        runs.append(({n: v.clone() for n, v in model.state_dict().items()}, batches))
        yield from trials.train(model, *args, **options)

    monkeypatch.setattr("trials.running.trial.train", spy)
    results = [
        run_trial(replace(SPEC, placement=placement), data)
        for placement in ("paired", "linear", "2:1/first")
    ]
    (weights, batches), *others = runs
    assert len(batches) == 2 * (5 + 1)  # 70 images in batches of 16, then validation
    for other_weights, other_batches in others:
        assert equal(weights, other_weights)
        assert all(torch.equal(a, b) for a, b in zip(batches, other_batches, strict=True))
    assert len({result.epochs[-1].val_loss for result in results}) == 3


def test_the_result_is_what_was_asked_for(data):
    result = run_trial(replace(SPEC, placement="2:1/second"), data)
    assert result.spec.placement == module_placement(SPEC.backbone, "2:1/second")
    assert not result.model.training
    assert (result.model.num_classes, result.model.in_channels) == (10, 1)


# --- weights and callbacks --------------------------------------------------------------------


def test_weights_are_written_before_the_last_call_and_equal_the_model(data, tmp_path):
    path, there = tmp_path / "model.safetensors", []
    result = run_trial(SPEC, data, save_to=path, on_epoch=lambda m: there.append(path.exists()))
    assert there == [False, True]
    assert equal(load_file(path), result.model.state_dict())


def test_on_epoch_gets_every_epoch_as_in_the_result(data):
    seen = []
    result = run_trial(SPEC, data, on_epoch=seen.append)
    assert tuple(seen) == result.epochs


@pytest.mark.parametrize("error", [SystemExit(3), InputError("no")])
def test_an_exception_from_on_epoch_propagates(data, error):
    def fail(metrics):
        raise error

    with pytest.raises(type(error)) as caught:
        run_trial(SPEC, data, on_epoch=fail)
    assert caught.value is error


# --- failures ---------------------------------------------------------------------------------


def test_a_run_that_diverges_tells_its_epoch_and_writes_nothing(data, tmp_path):
    path = tmp_path / "model.safetensors"
    recipe = Recipe(epochs=30, batch_size=8, learning_rate=99, weight_decay=0.9)
    spec = replace(SPEC, placement="linear", recipe=recipe)
    result = run_trial(spec, data, save_to=path)
    assert result.failure.endswith(f"in epoch {len(result.epochs) + 1}")
    assert "loss became" in result.failure
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_spoilt_weights_fail_in_the_next_epoch(data, monkeypatch):
    models = []

    def spy(model, *args, **options):
        models.append(model)
        yield from trials.train(model, *args, **options)

    monkeypatch.setattr("trials.running.trial.train", spy)

    def spoil(metrics):
        torch.nn.init.constant_(models[0].classifier.weight, float("nan"))

    result = run_trial(SPEC, data, on_epoch=spoil)
    assert result.failure == "diverged: training loss became nan in epoch 2"
    assert [m.epoch for m in result.epochs] == [1]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_of_gpus_is_refused_on_the_cpu(data, precision):
    spec = replace(SPEC, recipe=replace(RECIPE, precision=precision))
    with pytest.raises(InputError, match="use fp32 on the CPU"):
        run_trial(spec, data)


def test_images_too_small_for_a_last_batch_of_one_are_refused_or_trained(data):
    # at 4x4 the third stage is one pixel, and batch statistics need two values
    def corner(part, count):
        images = np.ascontiguousarray(part.images[:count, :4, :4])
        return replace(part, images=images, labels=part.labels[:count])

    small = replace(data, train=corner(data.train, 65), validation=corner(data.validation, 20))
    try:
        result = run_trial(SPEC, small)
    except InputError:
        return
    assert len(result.epochs) == 2


def test_arguments_of_another_type_are_refused(data):
    with pytest.raises(InputError, match="spec is 'plain-8'; it must be a TrialSpec"):
        run_trial("plain-8", data)
    with pytest.raises(InputError, match="data is 'digits'; it must be a TrainingData"):
        run_trial(SPEC, "digits")
    with pytest.raises(InputError, match="data is 3; it must be a text"):
        load_data(3)
    with pytest.raises(InputError, match="recipe is None; it must be one of paper, short"):
        Recipe.named(None)


# --- imports ----------------------------------------------------------------------------------

WITHOUT_RAY_AND_OPTUNA = """
import sys
for name in ("ray", "optuna"):
    sys.modules[name] = None
import search_spaces, trials, trials.data.held_out
names = [getattr(m, n) for m in (search_spaces, trials) for n in m.__all__]
recipe = trials.Recipe(epochs=1, batch_size=32)
spec = trials.TrialSpec(backbone="plain-5", placement="2:1", width=4, recipe=recipe)
result = trials.run_trial(spec, trials.load_data("digits", train_limit=50, validation_images=20))
search_spaces.SearchSpace("plain-38")
print(result.failure, len(result.epochs))
"""


def test_a_trial_needs_neither_ray_nor_optuna():
    root = Path(trials.__file__).parents[1]
    command = [sys.executable, "-c", WITHOUT_RAY_AND_OPTUNA]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["None", "1"]


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'trials' has no attribute 'nothing'"):
        trials.nothing  # noqa: B018
