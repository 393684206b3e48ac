"""Data that a program gives: arrays, tensors, data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from search_spaces import InputError
from trials import Recipe, TrainingData, TrialSpec, load_data, run_trial
from trials.data.given_images import given_test_set
from trials.data.image_sets import ImageFacts
from trials.data.splits import splits_of

LABELS = np.arange(40) % 4


@pytest.fixture
def images(random_images):
    return random_images(40, 8, 12, 3)


def whole(data):
    return data.given.images


@pytest.mark.parametrize(
    "layout",
    [
        lambda a: a,
        torch.from_numpy,
        lambda a: torch.from_numpy(a).permute(0, 3, 1, 2),
        lambda a: a.astype(np.float32) / 255,
        lambda a: (torch.from_numpy(a).permute(0, 3, 1, 2) / 255).double(),
    ],
    ids=["array", "tensor", "NCHW", "float", "NCHW double"],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda a: a.tolist()])
def test_every_layout_gives_the_same_pixels(images, layout, kind):
    data = TrainingData.from_tensors(layout(images), kind(LABELS))
    np.testing.assert_array_equal(whole(data), images)
    assert data.given.labels.tolist() == LABELS.tolist()
    assert (data.name, data.classes) == ("python:tensors", ("0", "1", "2", "3"))
    assert (len(data.train), len(data.validation)) == (32, 8)


def test_grey_images_have_one_channel(random_images):
    grey = random_images(40, 8, 8)
    for layout in (grey, grey[..., None], grey[:, None]):
        assert TrainingData.from_tensors(layout, LABELS).in_channels == 1


class Pictures(Dataset):
    """Pillow images of mixed sizes and modes."""

    classes = ("ant", "bee", "cow", "dog")

    def __init__(self, count=40, side=None):
        rng = np.random.default_rng(0)
        shape = (lambda: rng.integers(8, 20, 2)) if side is None else (lambda: (side, side))
        self.images = [
            Image.fromarray(rng.integers(0, 256, (*shape(), 3), dtype=np.uint8))
            for _ in range(count)
        ]
        self.images[1] = self.images[1].convert("L")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return self.images[place], torch.tensor(place % 4)


def test_a_data_set_of_pictures_of_mixed_sizes():
    with pytest.raises(InputError, match="--image-size"):
        TrainingData.from_dataset(Pictures())
    data = TrainingData.from_dataset(Pictures(), image_size=10)
    assert (data.name, data.classes) == ("python:Pictures", Pictures.classes)
    assert (data.image_size, data.in_channels, data.resized) == ((10, 10), 3, True)


def test_a_data_set_of_tensors_equals_the_tensors(images):
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    data = TrainingData.from_dataset(TensorDataset(tensors, torch.from_numpy(LABELS)), name="x")
    np.testing.assert_array_equal(whole(data), images)
    same = TrainingData.from_tensors(images, LABELS)
    assert data.split_digest == same.split_digest
    np.testing.assert_array_equal(data.train.images, same.train.images)


def test_an_own_validation_split_serves_every_seed(images, random_images):
    own = random_images(8, 8, 12, 3, seed=9)
    data = TrainingData.from_tensors(images, LABELS, validation=(own, LABELS[:8]))
    assert len(data.train) == 40
    splits = splits_of(data.given, (0, 1))
    for seed in (0, 1):
        np.testing.assert_array_equal(splits.of(seed).validation.images, own)
    limited = splits_of(data.given, (0, 1), train_limit=20)
    assert len(limited.of(0).train) == 20
    assert limited.of(0).train.labels.tolist() != limited.of(1).train.labels.tolist()
    with pytest.raises(InputError, match="validation split of its own with 8"):
        splits_of(data.given, (0,), validation_images=4)


def test_it_trains(images):
    data = TrainingData.from_tensors(images, LABELS, classes=tuple("abcd"))
    spec = TrialSpec(backbone="plain-5", width=2, placement="2:1", recipe=Recipe(epochs=1))
    assert run_trial(spec, data).failure is None


def test_seeds_and_options_are_those_of_named_data(random_images):
    digits = load_data("digits", seed=3, train_limit=60, augment="crop-flip")
    images = random_images(40, 8, 8, 1)
    data = TrainingData.from_tensors(images, LABELS, seed=3, train_limit=20, augment="crop-flip")
    assert (data.pad, data.flip) == (digits.pad, digits.flip) == (1, True)
    assert (len(data.train), data.split_seed) == (20, 3)
    assert TrainingData.from_tensors(images, LABELS, flip=False).flip is False


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"images": np.zeros((40, 8, 8, 3), np.int64)}, "images are int64"),
        ({"images": np.zeros((40, 8, 8, 2), np.uint8)}, "C 1 or 3"),
        ({"images": np.zeros((40, 8), np.uint8)}, "C 1 or 3"),
        ({"images": np.full((40, 8, 8), 2.0)}, "before they are normalised"),
        ({"images": np.full((40, 8, 8), np.nan)}, "before they are normalised"),
        ({"images": np.zeros((40, 8, 8, 3), np.uint8)}, "images are alike"),
        ({"labels": LABELS[:9]}, "labels are int64 of shape"),
        ({"labels": LABELS.astype(float)}, "labels are float64"),
        ({"labels": LABELS - 1}, "labels must be 0 to"),
        ({"labels": LABELS * 2}, "no image of class '1'"),
        ({"labels": LABELS * 0}, "labels must be 0 to"),
        ({"classes": ("a", "b")}, "labels must be 0 to 1 for 2 classes"),
        ({"classes": tuple("abcde")}, "no image of class 'e'"),
        ({"validation": 3}, "validation is 3; it must be a pair"),
        ({"name": 3}, "name is 3"),
        ({"image_size": 0}, "image size is 0"),
        ({"augment": "mixup"}, "augment is 'mixup'; it must be one of none, crop-flip"),
    ],
    ids=str,
)
def test_wrong_arrays_are_one_line_without_the_array(images, change, rule):
    given = {"images": images, "labels": LABELS} | change
    with pytest.raises(InputError) as caught:
        TrainingData.from_tensors(**given)
    assert rule in str(caught.value)
    assert len(str(caught.value)) < 300


class OfItems(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


@pytest.mark.parametrize(
    ("dataset", "rule"),
    [
        (OfItems(), "it needs a length of at least 1"),
        (3, "it needs a length of at least 1"),
        (OfItems(1, 2), "item 0 of the data set is 1; it must be image, label"),
        (OfItems((np.zeros((4, 4)), "cat")), "label 0 of the data set is 'cat'"),
        (OfItems(("a.png", 0)), "images are"),
        (OfItems((np.zeros((4, 4, 3)), 0), (np.zeros((5, 4, 3)), 1)), "--image-size"),
    ],
    ids=["empty", "number", "no pairs", "label", "name", "sizes"],
)
def test_wrong_data_sets_are_one_line(dataset, rule):
    with pytest.raises(InputError) as caught:
        TrainingData.from_dataset(dataset)
    assert rule in str(caught.value)


def test_test_sets_fit_their_training(images):
    data = TrainingData.from_dataset(Pictures(), image_size=10)
    facts = splits_of(data.given, (0,)).facts_of(0)
    test = given_test_set(Pictures(12), facts)  # resized as its training images were
    assert test.images.shape == (12, 10, 10, 3)
    grey = np.zeros((4, 10, 10), np.uint8)
    assert given_test_set((grey, [0, 1, 2, 3]), data).images.shape == (4, 10, 10, 3)
    assert isinstance(facts, ImageFacts)
    for wrong, rule in (
        ((images, [0] * 39), "labels are int64"),
        ((grey, [0, 1, 2, 4]), "test labels must be 0 to 3"),
        (7, "it needs a length"),
    ):
        with pytest.raises(InputError) as caught:
            given_test_set(wrong, data)
        assert rule in str(caught.value)
    same = TrainingData.from_tensors(images, LABELS)
    with pytest.raises(InputError, match="both must have the same shape"):
        given_test_set((grey, [0, 1, 2, 3]), same)
