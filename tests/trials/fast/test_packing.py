"""Packed training: the same mathematics as single trainings, a member at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn
from torch.nn import functional

from search_spaces import Backbone, InputError
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.fast import packed_network
from trials.fast.packed_network import Member, PackedNetwork, fastest_formats, side_by_side
from trials.fast.packing import PackedTraining
from trials.training.checkpoint import Checkpoint, load_weights
from trials.training.optimizer import NesterovSGD
from trials.training.recipe import Precision
from trials.training.spec import untrained_network

RECIPE = Recipe(epochs=2, batch_size=32, schedule="one-cycle")
FORMATS = (torch.channels_last, torch.contiguous_format)


def spec(number=0, backbone="plain-8", **changes):
    sites = len(Backbone.parse(backbone, 4).sites)
    bits = ("1" * sites, ("10" * sites)[:sites], "0" * sites)[number % 3]
    base = TrialSpec(backbone=backbone, width=4, placement=bits, recipe=RECIPE, seed=number)
    return replace(base, **changes)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=150)


def member(data, one):
    model = untrained_network(one, data).double().train()
    return Member(one, model, NesterovSGD(model, one.recipe), None, None)


@pytest.mark.parametrize(
    ("backbone", "activation"),
    [
        ("plain-8", "elu"),
        ("plain-8", "relu"),
        ("resnet-8", "relu"),
        ("preresnet-8", "elu"),
        ("dfn-14", "relu"),
        ("preplain-8", "leaky_relu"),
    ],
)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_steps_equal_those_of_single_trainings(
    data, backbone, activation, memory_format, monkeypatch
):
    """Each member with its own images and rate, against ungrouped convolutions."""
    monkeypatch.setattr(packed_network, "fastest_formats", lambda *_: (memory_format,) * 2)
    specs = [spec(i, backbone, activation=activation) for i in (2, 0, 1)]  # all-linear first
    members, singles = ([member(data, one) for one in specs] for _ in range(2))
    packed = PackedNetwork(members, (8, 8))
    packed.model.train()
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        x = torch.randn(3, 16, data.in_channels, 8, 8, generator=generator, dtype=torch.float64)
        y = torch.randint(10, (3, 16), generator=generator)
        rates = [0.1, 0.02, 0.05] if step else [0.1]
        losses, _ = packed.losses(side_by_side(x.flatten(0, 1), 3, memory_format), y)
        packed.step(losses, torch.tensor(rates, dtype=torch.float64))
        for i, single in enumerate(singles):
            loss = functional.cross_entropy(single.model(x[i]), y[i])
            assert losses[i].item() == pytest.approx(loss.item(), abs=1e-12)
            single.optimizer.learning_rate = rates[i % len(rates)]
            single.optimizer.forget_gradients()
            loss.backward()
            single.optimizer.step()
    for ours, theirs in zip(members, singles, strict=True):
        packed.copy_back(ours)
        for name, value in theirs.model.state_dict().items():
            torch.testing.assert_close(ours.model.state_dict()[name], value, rtol=0, atol=1e-10)
        for name, momentum in theirs.optimizer.state.items():
            torch.testing.assert_close(ours.optimizer.state[name], momentum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("precision", get_args(Precision))
def test_on_a_gpu_all_but_strict_fp32_is_channels_last(precision):
    """As measured; the figures are at the function."""
    of_images, of_weights = fastest_formats(
        replace(RECIPE, precision=precision), torch.device("cuda")
    )
    expected = torch.contiguous_format if precision == "fp32" else torch.channels_last
    assert of_images == of_weights == expected


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_images_side_by_side_keep_their_values_in_both_formats(memory_format, count):
    images = torch.randn(count * 2, 5, 5, 3).permute(0, 3, 1, 2)  # as Normalise returns them
    placed = side_by_side(images, count, memory_format)
    assert placed.is_contiguous(memory_format=memory_format)
    for member in range(count):
        ours = placed[:, member * 3 : member * 3 + 3]
        assert torch.equal(ours, images[member * 2 : member * 2 + 2])


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_images_weights_and_gradients_of_an_epoch_have_one_format(data, memory_format, monkeypatch):
    """So no step converts any of them. The metrics are those of the other format."""
    monkeypatch.setattr(packed_network, "fastest_formats", lambda *_: (memory_format,) * 2)
    training = PackedTraining(data)
    for number in range(3):
        training.join(number, spec(number, recipe=replace(RECIPE, learning_rate=1e-9)))
    formats = []

    def note(conv, inputs):
        formats.append([t.is_contiguous(memory_format=memory_format) for t in inputs])

    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: note(module, inputs) if isinstance(module, nn.Conv2d) else None
    )
    with handle:
        metrics = training.epoch()
    assert formats
    assert all(map(all, formats))
    for parameter in training._packed.network.model.parameters():
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=memory_format)
            assert parameter.grad.is_contiguous(memory_format=memory_format)
    for number in range(3):
        single = run_trial(training.members[number].spec, data).epochs[0]
        assert metrics[number].val_loss == pytest.approx(single.val_loss, rel=1e-4)


def test_a_member_does_not_depend_on_its_neighbours(data):
    """Whoever leaves or joins: in double precision a member's epochs are those it has alone."""

    def epochs_of(joins):
        training = PackedTraining(data)
        results = []
        for joining, leaving in joins:
            for number in joining:
                training.join(number, spec(number))
            for number in leaving:
                training.leave(number)
            results.append(training.epoch()[0])
        return results

    alone = epochs_of([([0], []), ([], [])])
    beside = epochs_of([([0, 1, 2], []), ([3], [1, 2])])
    assert beside[0].train_loss == pytest.approx(alone[0].train_loss, rel=0.02)
    assert [m.epoch for m in beside] == [1, 2]


def test_a_packed_epoch_measures_what_a_single_one_does(data):
    """With a rate of almost nothing there is no drift, so all metrics agree."""
    still = replace(RECIPE, learning_rate=1e-9)
    training = PackedTraining(data)
    for number in range(3):
        training.join(number, spec(number, recipe=still))
    packed = training.epoch()
    for number in range(3):
        single = run_trial(spec(number, recipe=still), data).epochs[0]
        for name in ("train_loss", "val_loss"):
            expected = pytest.approx(getattr(single, name), rel=1e-4)
            assert getattr(packed[number], name) == expected
        assert packed[number].train_accuracy == pytest.approx(single.train_accuracy, abs=0.01)
        assert packed[number].val_accuracy == pytest.approx(single.val_accuracy, abs=0.01)


def test_one_that_diverges_leaves_the_others_alone(data):
    training = PackedTraining(data)
    for number in range(3):
        training.join(number, spec(number))
    with torch.no_grad():
        training.members[1].model.classifier.weight.fill_(float("inf"))
    results = training.epoch()
    assert "diverged" in results[1]
    assert [results[0].epoch, results[2].epoch] == [1, 1]


def test_weights_and_checkpoints_are_those_of_an_ordinary_trial(data, tmp_path):
    """A packed trial goes on from its checkpoint, and its weights load into a plain network."""
    files = [
        {
            "save_to": tmp_path / f"{number}.safetensors",
            "checkpoint": Checkpoint(tmp_path / f"{number}.checkpoint", str(number)),
        }
        for number in range(2)
    ]
    training = PackedTraining(data)
    for number in range(2):
        assert training.join(number, spec(number), **files[number]) == ()
    first = training.epoch()
    again = PackedTraining(data)
    assert again.join(0, spec(0), **files[0]) == (first[0],)
    last = again.epoch()[0]
    assert last.epoch == 2
    model = untrained_network(spec(0), data)
    load_weights(model, files[0]["save_to"])
    for ours, theirs in zip(
        model.state_dict().values(),
        again.members[0].model.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    steps = 2 * -(-len(data.train) // RECIPE.batch_size)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {steps}
    assert not files[1]["save_to"].exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"activation": "prelu"}, "eager"), ({"placement": "2:1@drop-norm"}, "eager")],
)
def test_what_cannot_be_packed_is_refused(data, changes, words):
    with pytest.raises(InputError, match=words):
        PackedTraining(data).join(0, spec(0, **changes))


@pytest.mark.parametrize("place", [0, 1])
def test_a_pyramidnet_is_refused_and_all_weights_stay_untouched(data, place):
    """By name in `join`, and by its tensors in the packed network, first or second."""
    pyramid = spec(0, "preresnet-8", placement="pyramidnet")
    with pytest.raises(InputError, match="eager back end"):
        PackedTraining(data).join(0, pyramid)
    members = [member(data, spec(1, "preresnet-8")), member(data, spec(2, "preresnet-8"))]
    members[place] = member(data, pyramid)
    before = [
        {name: tensor.clone() for name, tensor in one.model.state_dict().items()} for one in members
    ]
    with pytest.raises(InputError, match=r"end_norm.*eager back end"):
        PackedNetwork(members, (8, 8))
    for one, weights in zip(members, before, strict=True):
        for name, tensor in one.model.state_dict().items():
            assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 8},
        {"backbone": "plain-11"},
        {"recipe": replace(RECIPE, epochs=3)},
        {"activation": "elu"},
    ],
    ids=str,
)
def test_a_pack_is_of_one_kind(data, changes):
    training = PackedTraining(data)
    training.join(0, spec(0))
    with pytest.raises(InputError, match="only in placement and seed"):
        training.join(1, spec(1, **changes))
    assert list(training.members) == [0]


@pytest.mark.cuda
def test_captured_epochs_equal_eager_ones(data, monkeypatch):
    """Members of different epochs too: the second joins behind the first epoch."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    found = {}
    for captured in (False, True):
        training = PackedTraining(data, "cuda", captured=captured)
        training.join(0, spec(0, recipe=replace(RECIPE, epochs=6)))
        found[captured] = [training.epoch()[0]]
        training.join(1, spec(1, recipe=replace(RECIPE, epochs=6)))
        for _ in range(4):  # short batches are recorded in the second
            found[captured] += training.epoch().values()
    for ours, theirs in zip(found[True], found[False], strict=True):
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-5)


def test_a_pack_that_changes_every_second_epoch_records_its_short_batch(data, records):
    """150 images are four batches of 32 and one of 22."""
    training = PackedTraining(data)
    for number in range(3):
        training.join(number, spec(number, recipe=replace(RECIPE, epochs=4)))
        records.clear()
        training.epoch()
        assert records == ["eager"] * 3 + ["record", "replay"] + ["eager"]
        records.clear()
        training.epoch()
        assert records == ["replay"] * 4 + ["record", "replay"]


@pytest.mark.slow
def test_final_scores_have_the_same_distribution(data):
    """80 seeds packed by eights and 80 others alone: no difference that a test can see."""
    packed, single = [], []
    for start in range(0, 80, 8):
        training = PackedTraining(data)
        for number in range(start, start + 8):
            training.join(number, spec(number, placement="2:1"))
        training.epoch()
        packed += [metrics.val_loss for metrics in training.epoch().values()]
    for seed in range(100, 180):
        single.append(run_trial(spec(seed, placement="2:1"), data).epochs[-1].val_loss)
    assert ks_2samp(packed, single).pvalue > 0.01
