"""Batched augmentation against torchvision's transforms, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as reference

from trials.data.augmentation import EpochDraws, Normalise, crop_and_flip, stream
from trials.data.pixels import pad_with_mean

MEAN = (125.307, 122.950, 113.865)
STD = (62.993, 62.089, 66.705)
FIELDS = ("order", "top", "left", "flipped")


def pil(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def equal(a: EpochDraws, b: EpochDraws) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@pytest.mark.parametrize(
    ("channels", "height", "width", "pad"), [(3, 32, 32, 4), (1, 9, 14, 2), (3, 8, 5, 0)]
)
def test_crop_and_flip_equals_torchvision(random_images, channels, height, width, pad):
    images = random_images(40, height, width, channels)
    mean = MEAN[:channels]
    fill = tuple(round(value) for value in mean)
    padded = torch.from_numpy(pad_with_mean(images, pad, mean))
    draws = EpochDraws.draw(40, pad=pad, flip=True, seed=3, epoch=2)

    ours = crop_and_flip(padded, draws, height, width).numpy()

    for row, index in enumerate(draws.order.tolist()):
        # the k-th corner and flip belong to the k-th image of the epoch
        image = reference.pad(pil(images[index]), pad, fill=fill[0] if channels == 1 else fill)
        image = reference.crop(image, int(draws.top[row]), int(draws.left[row]), height, width)
        image = reference.hflip(image) if draws.flipped[row] else image
        np.testing.assert_array_equal(ours[row], np.asarray(image).reshape(ours[row].shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_equals_torchvision(random_images, channels):
    images = random_images(6, 9, 14, channels)
    mean, std = MEAN[:channels], STD[:channels]
    ours = Normalise(mean, std, 14, torch.device("cpu"))(torch.from_numpy(images))
    theirs = torch.stack(
        [
            reference.normalize(
                reference.to_tensor(pil(image)), [m / 255 for m in mean], [s / 255 for s in std]
            )
            for image in images
        ]
    )
    assert ours.dtype == torch.float32
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, check_stride=False)


def test_normalise_leaves_the_images_alone(random_images):
    images = torch.from_numpy(random_images(2, 4, 4, 3))
    before = images.clone()
    Normalise(MEAN, STD, 4, torch.device("cpu"))(images)
    assert torch.equal(images, before)


def test_order_is_a_permutation_and_not_the_identity():
    order = EpochDraws.draw(500, pad=2, flip=True, seed=0, epoch=1).order
    assert sorted(order.tolist()) == list(range(500))
    assert order.tolist() != list(range(500))


def test_draws_cover_the_whole_range_evenly():
    draws = EpochDraws.draw(10_000, pad=2, flip=True, seed=0, epoch=1)
    corners = np.zeros((5, 5))
    np.add.at(corners, (draws.top.numpy(), draws.left.numpy()), 1)
    # 400 expected in each of the 25 cells; five standard deviations of a fair draw
    np.testing.assert_allclose(corners, 400, atol=5 * 400**0.5)
    assert draws.flipped.float().mean() == pytest.approx(0.5, abs=5 * 0.005)


def test_no_flip_and_no_pad_leave_only_the_order():
    draws = EpochDraws.draw(300, pad=0, flip=False, seed=0, epoch=1)
    assert not draws.flipped.any()
    assert not draws.top.any()
    assert not draws.left.any()


def test_draws_depend_on_seed_and_epoch_alone():
    def draw(seed: int, epoch: int) -> EpochDraws:
        return EpochDraws.draw(100, pad=2, flip=True, seed=seed, epoch=epoch)

    torch.manual_seed(1)
    first = draw(4, 7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert equal(first, draw(4, 7))
    assert torch.equal(state, torch.get_rng_state())
    assert not any(equal(first, other) for other in (draw(4, 8), draw(5, 7), draw(7, 4)))


def test_batches_put_together_are_the_epoch():
    draws = EpochDraws.draw(50, pad=2, flip=True, seed=0, epoch=1)
    for name in FIELDS:
        parts = [getattr(draws.batch(start, 16), name) for start in range(0, 50, 16)]
        assert [len(part) for part in parts] == [16, 16, 16, 2]
        assert torch.equal(torch.cat(parts), getattr(draws, name))


def test_streams_differ_by_seed_and_by_purpose():
    names = [(seed, purpose) for seed in range(20) for purpose in range(20)]
    firsts = {torch.rand(1, generator=stream(*name), dtype=torch.float64).item() for name in names}
    assert len(firsts) == len(names)
