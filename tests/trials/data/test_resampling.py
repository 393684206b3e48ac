"""Random crops that are resized, against torchvision's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from trials import Recipe, TrialSpec, load_data, run_trial
from trials.data.augmentation import EpochDraws, crop_and_flip
from trials.data.resampling import random_boxes
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import stand_in_epochs
from trials.training.loop import train
from trials.training.spec import untrained_network


def test_crops_equal_torchvisions_with_the_same_boxes(random_images):
    images = random_images(40, 24, 36, 3)
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(40, 24, 36, generator)
    order = torch.randperm(40, generator=generator)
    flipped = torch.rand(40, generator=generator) < 0.5
    draws = EpochDraws(order, boxes[0], boxes[1], flipped, boxes[2], boxes[3])
    ours = crop_and_flip(torch.from_numpy(images), draws, 24, 36)
    assert ours.dtype == torch.uint8
    for place, image in enumerate(order):
        box = [int(side[place]) for side in boxes]
        source = torch.from_numpy(images[image]).permute(2, 0, 1).float()
        expected = functional.resized_crop(source, *box, [24, 36], antialias=True)
        expected = expected.flip(2) if flipped[place] else expected
        difference = ours[place].permute(2, 0, 1).float() - expected
        assert difference.abs().max() <= 0.51  # of rounding


@pytest.mark.parametrize("size", [(32, 32), (24, 60), (60, 20)])
def test_boxes_are_drawn_as_torchvision_draws_them(size):
    """Areas and ratios have the same distribution, and every box is inside."""
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(size)
    image = torch.zeros(3, *size)
    drawn = [theirs.make_params([image]) for _ in range(3000)]
    top, left, height, width = random_boxes(3000, *size, torch.Generator().manual_seed(1))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()
    for ours, name in ((top, "top"), (left, "left"), (height, "height"), (width, "width")):
        expected = np.array([one[name] for one in drawn], float)
        step = expected.std() * (2 / 3000) ** 0.5 + 1e-9
        assert abs(ours.double().mean().item() - expected.mean()) < 4.5 * step
        assert ours.double().std().item() == pytest.approx(expected.std(), rel=0.1, abs=0.1)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", train_limit=60, augment="random-resized-crop")


RECIPE = Recipe(epochs=2, batch_size=25)
SPEC = TrialSpec(backbone="plain-5", width=2, placement="2:1", recipe=RECIPE, seed=1)


def test_draws_depend_on_seed_and_epoch_only(digits):
    first, again = (EpochDraws.of_epoch(digits, seed=1, epoch=2) for _ in range(2))
    other = EpochDraws.of_epoch(digits, seed=1, epoch=3)
    assert all(map(torch.equal, first.tensors, again.tensors))
    assert len(first.tensors) == 6
    assert not torch.equal(first.tensors[4], other.tensors[4])
    usual = EpochDraws.of_epoch(replace(digits, augment=None), seed=1, epoch=2)
    assert torch.equal(usual.order, first.order)
    assert len(usual.tensors) == 4


def test_stand_ins_and_packs_see_the_same_crops(digits):
    alone = run_trial(SPEC, digits).epochs[0]
    by_stand_in = stand_in_epochs(SPEC, compiled=False, captured=True)
    model = untrained_network(SPEC, digits)
    gated = next(train(model, digits, RECIPE, seed=1, epoch_by=by_stand_in))
    pack = PackedTraining(digits)
    pack.join(0, SPEC)
    pack.join(1, replace(SPEC, seed=2))
    packed = pack.epoch()[0]
    assert alone.train_loss == pytest.approx(gated.train_loss, abs=1e-4)
    assert alone.train_loss == pytest.approx(packed.train_loss, abs=1e-4)
    usual = run_trial(SPEC, replace(digits, augment=None)).epochs[0]
    assert abs(usual.train_loss - alone.train_loss) > 1e-3


def test_augment_none_and_crop_flip():
    plain = load_data("digits", train_limit=60, augment="none")
    both = load_data("digits", train_limit=60, augment="crop-flip")
    assert (plain.pad, plain.flip) == (0, False)
    assert (both.pad, both.flip) == (1, True)
