"""The training loop against a textbook loop on plain NCHW tensors."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import functional as reference

from search_spaces import InputError, build
from trials import EpochMetrics, Recipe, TrainingData, train
from trials.data.augmentation import EpochDraws, Normalise
from trials.data.image_sets import ImageSet
from trials.training import evaluation
from trials.training.evaluation import evaluate, on_device
from trials.training.loop import DeviceData, drop_device_data
from trials.training.metrics import NonFiniteLossError

MEAN, STD, PAD = (120.0, 100.0, 140.0), (60.0, 70.0, 65.0), 2


def make_data(images: np.ndarray, labels: np.ndarray, validation: int) -> TrainingData:
    """The last `validation` images validate; the others are padded with the mean colour."""
    n, height, width, channels = images[:-validation].shape
    padded = np.empty((n, height + 2 * PAD, width + 2 * PAD, channels), np.uint8)
    padded[:] = np.uint8(MEAN[:channels])
    padded[:, PAD:-PAD, PAD:-PAD] = images[:-validation]
    return TrainingData(
        name="test",
        train=ImageSet(images=padded, labels=labels[:-validation]),
        validation=ImageSet(images=images[-validation:], labels=labels[-validation:]),
        pad=PAD,
        flip=True,
        mean=MEAN[:channels],
        std=STD[:channels],
        classes=tuple("abcd"),
        split_seed=0,
        split_digest="",
    )


@pytest.fixture
def data(random_images) -> TrainingData:
    """26 training and 10 validation images, 8x12 in colour, four classes."""
    return make_data(random_images(36, 8, 12, 3), np.arange(36) % 4, 10)


def network(name: str = "resnet-8", **options) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    return build(name, width=4, num_classes=4, generator=generator, **options)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) uint8 -> normalised (N, C, H, W), by torchvision."""
    tensor = torch.stack([reference.to_tensor(image) for image in images])
    channels = images.shape[-1]
    return reference.normalize(
        tensor, [m / 255 for m in MEAN[:channels]], [s / 255 for s in STD[:channels]]
    )


def rate_factors(schedule: str, total: int) -> list[float]:
    """The recipe's learning rate at each of `total` steps, as a part of the highest."""
    if schedule == "one-cycle":
        return list(np.interp(np.arange(total) / total, [0, 0.3, 1], [0, 1, 0]))
    milestones = [int(np.ceil(total * part)) for part in (0.5, 0.75, 0.875)]
    return [0.1 ** sum(step >= m for m in milestones) for step in range(total)]


def textbook(model: nn.Module, data: TrainingData, recipe: Recipe, seed: int) -> list[dict]:
    """Nesterov SGD, one image at a time through torchvision's crop and flip."""
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        foreach=False,
    )
    padded, labels = to_tensor(data.train.images), torch.from_numpy(data.train.labels)
    height, width = data.validation.images.shape[1:3]
    n = len(labels)
    steps = -(-n // recipe.batch_size)
    factors = rate_factors(recipe.schedule, recipe.epochs * steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: factors[min(step, len(factors) - 1)]
    )
    history = []
    for epoch in range(1, recipe.epochs + 1):
        draws = EpochDraws.draw(n, pad=data.pad, flip=data.flip, seed=seed, epoch=epoch)
        images = []
        for k, index in enumerate(draws.order):
            image = reference.crop(
                padded[index], int(draws.top[k]), int(draws.left[k]), height, width
            )
            images.append(reference.hflip(image) if draws.flipped[k] else image)
        x, y = torch.stack(images), labels[draws.order]
        model.train()
        losses, hits = [], []
        for batch_x, batch_y in zip(
            x.split(recipe.batch_size), y.split(recipe.batch_size), strict=True
        ):
            optimizer.zero_grad()
            logits = model(batch_x)
            each = nn.functional.cross_entropy(logits, batch_y, reduction="none")
            each.mean().backward()
            optimizer.step()
            scheduler.step()
            losses += each.tolist()
            hits += (logits.argmax(1) == batch_y).tolist()
        model.eval()
        with torch.no_grad():
            logits = model(to_tensor(data.validation.images))
        y = torch.from_numpy(data.validation.labels)
        history.append(
            {
                "epoch": epoch,
                "train_loss": np.mean(losses),
                "train_accuracy": np.mean(hits),
                "val_loss": nn.functional.cross_entropy(logits, y).item(),
                "val_accuracy": (logits.argmax(1) == y).double().mean().item(),
            }
        )
    return history


@pytest.mark.parametrize(
    ("name", "placement", "schedule"),
    [
        ("plain-5", "paired", "one-cycle"),
        ("resnet-8", "2:1/first", "step"),
        ("dfn-14", "paired", "one-cycle"),
    ],
)
def test_training_equals_a_textbook_loop(data, schedule, name, placement):
    recipe = Recipe(
        epochs=4, batch_size=8, learning_rate=0.02, schedule=schedule, weight_decay=0.01
    )
    ours, theirs = network(name, placement=placement), network(name, placement=placement)
    metrics = [m.to_json() for m in train(ours, data, recipe, seed=5)]
    for mine, expected in zip(metrics, textbook(theirs, data, recipe, seed=5), strict=True):
        del mine["seconds"]
        assert mine == pytest.approx(expected, abs=2e-5)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(
            ours.state_dict()[key], value, rtol=1e-4, atol=1e-4, check_stride=False
        )


def test_grey_images_train_as_the_textbook_says(random_images):
    data = make_data(random_images(30, 8, 8, 1), np.arange(30) % 4, 8)
    recipe = Recipe(epochs=1, batch_size=8)
    (ours,) = train(network(in_channels=1), data, recipe, seed=1)
    (theirs,) = textbook(network(in_channels=1), data, recipe, seed=1)
    assert ours.train_loss == pytest.approx(theirs["train_loss"], abs=1e-5)
    assert ours.val_loss == pytest.approx(theirs["val_loss"], abs=1e-5)


def test_every_image_is_seen_once_an_epoch_the_short_batch_included(data):
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda module, x: sizes.append((module.training, len(x[0]))))
    for _ in train(model, data, Recipe(epochs=2, batch_size=8), seed=0):
        pass
    assert sizes == 2 * [(True, 8), (True, 8), (True, 8), (True, 2), (False, 10)]


def test_evaluation_in_parts_equals_one_pass(random_images):
    images, labels = random_images(1203, 2, 3, 3), np.arange(1203) % 4
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 4))
    logits = model(to_tensor(images)).detach().double()
    loss, accuracy = evaluate(
        model,
        torch.from_numpy(images),
        torch.from_numpy(labels),
        Normalise(MEAN, STD, 3, torch.device("cpu")),
        Recipe(epochs=1),
    )
    y = torch.from_numpy(labels)
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), abs=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == y).double().mean().item(), abs=1e-7)


def test_training_writes_into_no_array_and_takes_read_only_ones(data):
    recipe = Recipe(epochs=1, batch_size=8)
    (expected,) = train(network(), data, recipe, seed=0)
    for part in (data.train, data.validation):
        part.images.setflags(write=False)
        part.labels.setflags(write=False)
    (metrics,) = train(network(), data, recipe, seed=0)
    assert metrics.val_loss == expected.val_loss


def test_metrics_come_one_epoch_at_a_time(data):
    run = train(network(), data, Recipe(epochs=3, batch_size=8), seed=0)
    assert [m.epoch for m in run] == [1, 2, 3]


def test_epoch_metrics_are_plain_numbers(data):
    (metrics,) = train(network(), data, Recipe(epochs=1, batch_size=8), seed=0)
    assert EpochMetrics(**metrics.to_json()) == metrics
    assert {type(value) for value in metrics.to_json().values()} == {int, float}
    assert metrics.seconds >= 0


def test_other_seeds_train_otherwise(data):
    recipe = Recipe(epochs=1, batch_size=8)
    (one,) = train(network(), data, recipe, seed=3)
    (other,) = train(network(), data, recipe, seed=4)
    assert one.train_loss != other.train_loss


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_of_gpus_is_refused_on_the_cpu(data, precision):
    recipe = Recipe(epochs=1, precision=precision)
    with pytest.raises(InputError, match=f"{precision} needs a CUDA device; use fp32 on the CPU"):
        next(train(network(), data, recipe, seed=0))


def test_a_loss_that_is_not_finite_names_its_epoch(data):
    model = network()
    run = train(model, data, Recipe(epochs=3, batch_size=8), seed=0)
    next(run)
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("inf")
    with pytest.raises(NonFiniteLossError, match=r"training loss became (nan|inf) in epoch 2") as e:
        next(run)
    assert e.value.epoch == 2


def test_a_validation_loss_that_is_not_finite_is_told_apart(data):
    model = network()

    def spoil(module, args):
        if not module.training:
            with torch.no_grad():
                module.classifier.bias.fill_(float("nan"))

    model.register_forward_pre_hook(spoil)
    with pytest.raises(NonFiniteLossError, match="validation loss became nan in epoch 1"):
        next(train(model, data, Recipe(epochs=1, batch_size=8), seed=0))


def test_who_trains_on_the_same_arrays_gets_the_same_tensors(data, pinned):
    """By another object, by a device without its index; one upload of each array."""
    meta = torch.device("meta")
    first = DeviceData.of(data, meta)
    views = {
        part: ImageSet(images=getattr(data, part).images[:], labels=getattr(data, part).labels[:])
        for part in ("train", "validation")
    }
    assert DeviceData.of(replace(data, **views), meta) is first
    on_device(data.validation, meta)
    assert first.images.shape == data.train.images.shape
    assert len(pinned) == 6  # two splits of images and labels; mean and std


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": (1.0, 2.0, 3.0)},
        {"flip": False},
        {"pad": 1},
        "fewer images",
        "equal images in other memory",
    ],
    ids=str,
)
def test_other_data_are_uploaded_and_the_old_ones_dropped(data, pinned, changes):
    meta = torch.device("meta")
    old = weakref.ref(DeviceData.of(data, meta).images)
    train = data.train
    if changes == "fewer images":
        changes = {"train": ImageSet(images=train.images[:9], labels=train.labels[:9])}
    elif changes == "equal images in other memory":
        changes = {"train": ImageSet(images=train.images.copy(), labels=train.labels)}
    DeviceData.of(replace(data, **changes), meta)
    assert old() is None
    assert len(pinned) > 6


def test_memory_that_is_used_again_is_not_taken_for_the_old_data(random_images, pinned):
    """The arrays of one round are freed before the next, so the allocator gives them out again."""
    for round_ in range(1, 6):
        data = make_data(random_images(36, 8, 12, 3, seed=round_), np.arange(36) % 4, 10)
        DeviceData.of(data, torch.device("meta"))
        assert len(pinned) == 6 * round_


def test_many_models_are_scored_with_one_upload_of_the_test_images(data, pinned, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: (0.5, 0.5))  # no numbers on `meta`
    test = ImageSet(images=data.validation.images[:7], labels=data.validation.labels[:7])
    DeviceData.of(data, torch.device("meta"))
    for _ in range(5):
        evaluation.score_on_test(network(), test, data, Recipe(epochs=1), "meta")
    DeviceData.of(data, torch.device("meta"))
    shapes = [part.images.shape for part in (test, data.train, data.validation)]
    assert [pinned.count(shape) for shape in shapes] == [1, 1, 1]


def test_on_the_cpu_the_tensors_are_the_arrays_and_nobody_keeps_them(data):
    arrays = [weakref.ref(data.train.images), weakref.ref(data.validation.images)]
    there = DeviceData.of(data, torch.device("cpu"))
    assert there.images.data_ptr() == data.train.images.ctypes.data
    assert there.validation[0].data_ptr() == data.validation.images.ctypes.data
    del there
    object.__setattr__(data, "train", None)
    object.__setattr__(data, "validation", None)
    assert [array() for array in arrays] == [None, None]


@pytest.mark.cuda
def test_a_gpu_has_the_values_of_the_arrays_once(data):
    first = DeviceData.of(data, torch.device("cuda"))
    assert DeviceData.of(data, first.images.device) is first
    assert (first.images.cpu().numpy() == data.train.images).all()
    assert (first.validation[1].cpu().numpy() == data.validation.labels).all()
    drop_device_data()
    assert DeviceData.of(data, torch.device("cuda")) is not first
