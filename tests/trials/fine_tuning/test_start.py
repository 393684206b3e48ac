"""How a training starts from weights, and what distillation adds to its loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces import InputError, Placement, build
from trials import FineTuning, Recipe, TrialSpec, load_data, read_weights, run_trial
from trials.data.augmentation import EpochDraws, crop_and_flip
from trials.fast.packing import PackedTraining
from trials.fine_tuning.start import distilled_loss, network_at_start
from trials.training.checkpoint import save_weights
from trials.training.loop import train_epoch

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.01, schedule="cosine")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=70, validation_images=20)


def weights_of(backbone, data, folder, placement="paired"):
    """Weights in which no tensor has a usual value."""
    net = build(
        backbone, placement, width=4, num_classes=data.num_classes, in_channels=data.in_channels
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
                value.div_(max(1, value[0].numel()) ** 0.5)
    save_weights(net, folder / "w.safetensors")
    shape = {"num_classes": data.num_classes, "in_channels": data.in_channels}
    where = str(folder / "w.safetensors")
    return read_weights(where, replace(net.backbone, width=4), **shape)


def spec_of(weights, backbone="preresnet-8", placement="01*3", **tuning):
    return TrialSpec(
        backbone=backbone,
        width=4,
        placement=placement,
        recipe=RECIPE,
        fine_tuning=FineTuning(weights=weights.digest, **tuning),
    )


@pytest.mark.parametrize(
    ("placement", "added", "left_out"),
    [
        ("01*3", 0, 0),
        ("1*6", 0, 0),
        ("01*3@end-norm", 3 * 4, 0),
        ("01*3@drop-norm", 0, 3 * 4),
    ],
)
def test_a_training_starts_from_the_weights_to_the_bit(data, tmp_path, placement, added, left_out):
    weights = weights_of("preresnet-8", data, tmp_path)
    spec = spec_of(weights, placement=placement)
    state = network_at_start(spec, data, weights, CPU).state_dict()
    names = {name for name in state if not name.endswith("num_batches_tracked")}
    assert len(names - weights.tensors.keys()) == added
    assert len(weights.tensors.keys() - names) == left_out
    for name in names & weights.tensors.keys():
        is_statistic = name.endswith(("running_mean", "running_var"))
        assert torch.equal(state[name], weights.tensors[name]) != is_statistic


def test_its_statistics_are_those_of_its_placement(data, tmp_path):
    """Oracle: plain averages over the batches of mean and unbiased variance, after the stem."""
    weights = weights_of("resnet-8", data, tmp_path)
    spec = spec_of(weights, backbone="resnet-8", placement="01*3")
    net = network_at_start(spec, data, weights, CPU)
    draws = EpochDraws.draw(70, pad=data.pad, flip=data.flip, seed=0, epoch=1)
    images = crop_and_flip(torch.from_numpy(data.train.images), draws, *data.image_size)
    x = (images.permute(0, 3, 1, 2).double() - data.mean[0]) / data.std[0]
    kernel = weights.tensors["stem.0.weight"].double()
    batches = [nn.functional.conv2d(part, kernel, padding=1) for part in x.split(16)]
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variance = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    norm = net.stem[1]
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-5, atol=1e-6)
    paired = replace(spec, placement=Placement("1" * 6))
    other = network_at_start(paired, data, weights, CPU)
    ours, theirs = (
        [m.running_mean for m in one.modules() if isinstance(m, nn.BatchNorm2d)]
        for one in (net, other)
    )
    assert torch.equal(ours[0], theirs[0])
    assert not torch.equal(ours[-1], theirs[-1])


def test_run_trial_begins_with_that_network(data, tmp_path, monkeypatch):
    weights = weights_of("preresnet-8", data, tmp_path)
    spec = spec_of(weights)
    seen = []

    def first_step(model, optimizer, on_device, draws, epoch):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return train_epoch(model, optimizer, on_device, draws, epoch)

    monkeypatch.setattr("trials.training.loop.train_epoch", first_step)
    run_trial(spec, data, weights=weights)
    start = network_at_start(spec, data, weights, CPU).state_dict()
    assert all(torch.equal(seen[0][name], value) for name, value in start.items())


def test_a_new_head_depends_on_the_seed_alone(data, tmp_path):
    weights = weights_of("preresnet-8", data, tmp_path)
    body = {n: v for n, v in weights.tensors.items() if not n.startswith("classifier")}
    weights = replace(weights, tensors=body)
    one, same, other = (
        network_at_start(replace(spec_of(weights), seed=seed), data, weights, CPU).classifier.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# --- distillation -----------------------------------------------------------------------------


def test_the_loss_is_that_of_the_formula():
    """In NumPy, from the definition of cross-entropy and of the Kullback-Leibler divergence."""
    rng = np.random.default_rng(0)
    own, taught = rng.normal(size=(2, 5, 4)) * 3
    labels = np.array([0, 3, 1, 1, 2])
    share, temperature = 0.7, 2.5

    def softmax(z):
        e = np.exp(z)
        return e / e.sum(axis=1, keepdims=True)

    hard = -np.log(softmax(own)[np.arange(5), labels]).mean()
    p, q = softmax(taught / temperature), softmax(own / temperature)
    soft = (p * np.log(p / q)).sum(axis=1).mean()
    expected = 0.3 * hard + share * temperature**2 * soft
    teacher, net = (lambda _x, z=z: torch.tensor(z) for z in (taught, own))
    loss_of = distilled_loss(RECIPE, teacher, share=share, temperature=temperature)
    loss, logits = loss_of(net, None, torch.tensor(labels))
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(logits, torch.tensor(own))


def test_the_gradient_of_pure_distillation_is_that_of_the_paper():
    """Hinton et al., equation 2: d C / d z = (q - p) / T; here times T^2, as a mean of images."""
    own = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    taught = torch.randn(3, 4, dtype=torch.float64)
    loss_of = distilled_loss(RECIPE, lambda _: taught, share=1.0, temperature=3.0)
    loss, _ = loss_of(lambda _: own, None, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    expected = (own.detach() / 3).softmax(1) - (taught / 3).softmax(1)
    torch.testing.assert_close(own.grad, 3 * expected / 3, rtol=1e-4, atol=1e-5)


def test_the_teacher_is_the_untouched_network_with_these_weights(data, tmp_path, monkeypatch):
    weights = weights_of("preresnet-8", data, tmp_path)
    teachers = []

    def loss(recipe, teacher, **how):
        teachers.append((teacher, how))
        return distilled_loss(recipe, teacher, **how)

    monkeypatch.setattr("trials.fine_tuning.start.distilled_loss", loss)
    plain = run_trial(spec_of(weights), data, weights=weights)
    spec = spec_of(weights, distill=0.5, temperature=3.0)
    taught = run_trial(spec, data, weights=weights)
    ((teacher, how),) = teachers
    assert how == {"share": 0.5, "temperature": 3.0}
    assert teacher.placement == Placement("1" * 6)
    assert not teacher.training
    state = teacher.state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.tensors.items())
    assert taught.epochs[0].train_loss != plain.epochs[0].train_loss
    again = run_trial(spec, data, weights=weights)
    assert again.epochs[0].train_loss == taught.epochs[0].train_loss


# --- what is refused, and what identifies a trial ---------------------------------------------


def test_a_spec_with_weights_is_another_trial_and_survives_json(data, tmp_path):
    weights = weights_of("preresnet-8", data, tmp_path)
    spec = spec_of(weights, distill=0.5)
    assert TrialSpec.from_json(spec.to_json()) == spec
    scratch = replace(spec, fine_tuning=None)
    assert "fine_tuning" not in scratch.to_json()
    assert scratch.to_json() != replace(spec, fine_tuning=FineTuning(weights="x")).to_json()


def test_other_weights_than_the_spec_names_are_refused(data, tmp_path):
    weights = weights_of("preresnet-8", data, tmp_path)
    spec = spec_of(weights)
    for wrong, given in (
        (spec, None),
        (replace(spec, fine_tuning=None), weights),
        (replace(spec, fine_tuning=FineTuning(weights="0" * 64)), weights),
    ):
        with pytest.raises(InputError, match="give both or neither"):
            run_trial(wrong, data, weights=given)


def test_a_teacher_without_some_of_its_activations_is_refused(data, tmp_path):
    weights = weights_of("preresnet-8", data, tmp_path, placement="01*3")
    run_trial(spec_of(weights), data, weights=weights)
    with pytest.raises(InputError, match=r"trained with the placement 01\*3, and distillation"):
        run_trial(spec_of(weights, distill=0.5), data, weights=weights)


def test_packs_and_shared_graphs_say_what_they_lack(data, tmp_path):
    weights = weights_of("preresnet-8", data, tmp_path)
    with pytest.raises(InputError, match="packs train from scratch"):
        PackedTraining(data).join(0, spec_of(weights))
    with pytest.raises(InputError, match="have no distillation"):
        run_trial(spec_of(weights, distill=0.5), data, weights=weights, compiled=True)
