"""Splits, padding and statistics of the training data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces import Backbone, InputError, Placement
from trials import Recipe, TrialSpec, load_data
from trials.data.image_sets import ImageSet, TrainingData
from trials.data.pixels import pad_with_mean
from trials.data.reading import sources
from trials.data.splits import data_directory, load_splits, split_rows
from trials.running.trial_files import TrialFiles

# unequal classes, shuffled: 200, 120, 60 and 20 images
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [200, 120, 60, 20]))


def split(labels=LABELS, *, train_limit=None, validation_images=None, seed=0):
    return split_rows(
        labels, train_limit=train_limit, validation_images=validation_images, seed=seed
    )


@pytest.mark.parametrize(
    ("train_limit", "validation_images"),
    [(None, None), (None, 40), (4, 80), (100, 40), (317, None), (320, 80)],
)
def test_splits_are_disjoint_sorted_stratified_and_of_the_right_size(
    train_limit, validation_images
):
    train, validation = split(train_limit=train_limit, validation_images=validation_images)
    assert len(validation) == (validation_images or 80)
    assert len(train) == (train_limit or 400 - len(validation))
    both = np.concatenate([train, validation])
    assert len(np.unique(both)) == len(both)
    assert both.min() >= 0
    assert both.max() < 400
    shares = np.array([200, 120, 60, 20]) / 400
    for rows in (train, validation):
        assert (np.diff(rows) > 0).all()
        counts = np.bincount(LABELS[rows], minlength=4)
        np.testing.assert_allclose(counts, shares * len(rows), atol=2.5)


def test_without_a_limit_no_image_is_lost():
    assert sorted(np.concatenate(split())) == list(range(400))


def test_splits_depend_on_the_seed_alone():
    np.random.seed(1)
    first = split(train_limit=100)
    np.random.seed(2)
    again, other = split(train_limit=100), split(train_limit=100, seed=1)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_the_validation_split_does_not_depend_on_the_train_limit():
    for limit in (None, 50, 318):
        np.testing.assert_array_equal(split(train_limit=limit)[1], split()[1])


@pytest.mark.parametrize(("total", "expected"), [(24_999, 4_999), (50_000, 5_000)])
def test_validation_is_a_fifth_and_at_most_5000(total, expected):
    assert len(split(np.arange(total) % 2)[1]) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"validation_images": 3},
        {"validation_images": 397},
        {"validation_images": -1},
        {"train_limit": 3},
        {"train_limit": 321},
    ],
)
def test_an_impossible_size_names_the_possible_ones(options):
    with pytest.raises(InputError, match=r"; use 4 to \d+$") as caught:
        split(**options)
    assert str(next(iter(options.values()))) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_with_one_image_is_one_clear_line():
    with pytest.raises(InputError, match="cannot be split by class") as caught:
        split(np.array([0] * 20 + [1]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_is_the_rounded_mean_colour(random_images, channels):
    images, mean = random_images(5, 6, 9, channels), (10.4, 99.6, 200.0)[:channels]
    padded = pad_with_mean(images, 2, mean)
    for c, colour in enumerate((10, 100, 200)[:channels]):
        expected = np.pad(images[..., c], ((0, 0), (2, 2), (2, 2)), constant_values=colour)
        np.testing.assert_array_equal(padded[..., c], expected)


@pytest.fixture
def colour_set(tmp_path, encode, write_parquet, random_images):
    """60 dim colour images 16x24, three classes; returns (data name, images, labels)."""
    images = (random_images(60, 16, 24, 3) // np.array([1, 2, 4])).astype(np.uint8)
    labels = np.arange(60) % 3
    write_parquet(tmp_path / "train.parquet", [encode(image) for image in images], labels)
    return f"parquet:{tmp_path}", images, labels


@pytest.mark.parametrize("limit", [None, 20])
def test_mean_and_std_are_those_of_the_training_images(colour_set, limit):
    data = load_data(colour_set[0], train_limit=limit)
    assert data.pad == 2  # an eighth of the smaller side
    inner = data.train.images[:, 2:-2, 2:-2].astype(np.float64)
    np.testing.assert_allclose(data.mean, inner.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, inner.std((0, 1, 2)), rtol=1e-12)


def test_images_keep_their_labels_through_the_split(colour_set):
    name, images, labels = colour_set
    data = load_data(name, seed=5)
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    inner = np.ascontiguousarray(data.train.images[:, 2:-2, 2:-2])
    for part, pixels in ((data.train, inner), (data.validation, data.validation.images)):
        assert [label_of[image.tobytes()] for image in pixels] == part.labels.tolist()


def test_what_is_known_of_a_data_set(colour_set):
    data = load_data(colour_set[0])
    assert (data.in_channels, data.image_size, data.num_classes) == (3, (16, 24), 3)
    assert (data.classes, data.flip, data.name) == (("0", "1", "2"), True, colour_set[0])
    assert data.train.images.shape == (48, 20, 28, 3)
    assert data.validation.images.shape == (12, 16, 24, 3)
    assert data.train.images.dtype == data.validation.images.dtype == np.uint8
    assert data.train.labels.dtype == data.validation.labels.dtype == np.int64


def test_the_digest_names_the_validation_split(colour_set):
    name = colour_set[0]
    digests = [load_data(name, seed=seed).split_digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert load_data(name, train_limit=20).split_digest == digests[0]


def test_digits_are_neither_padded_nor_mirrored():
    data = load_data("digits")
    assert (data.pad, data.flip, data.num_classes) == (0, False, 10)
    assert data.train.images.shape == (1038, 8, 8, 1)


def test_a_channel_of_one_value_has_a_usable_std(tmp_path, encode, write_parquet, random_images):
    images = random_images(20, 8, 8, 3)
    images[..., 1] = 77
    write_parquet(tmp_path / "train.parquet", [encode(i) for i in images], [0, 1] * 10)
    data = load_data(f"parquet:{tmp_path}")
    assert (data.mean[1], data.std[1]) == (77.0, 1.0)


def test_the_data_folder_is_the_argument_then_the_environments_then_data(monkeypatch):
    monkeypatch.setenv("RELU_SEARCH_DATA", "/from/environment")
    assert data_directory("/from/argument") == Path("/from/argument")
    assert data_directory(None) == Path("/from/environment")
    monkeypatch.delenv("RELU_SEARCH_DATA")
    assert data_directory(None) == Path("data")
    assert data_directory("~/x") == Path.home() / "x"


def test_arrays_become_tensors_without_a_copy(colour_set):
    images = load_data(colour_set[0]).train.images
    assert images.flags.c_contiguous
    assert torch.from_numpy(images).data_ptr() == images.ctypes.data


# --- many splits of one data set --------------------------------------------------------------


def assert_equal_data(found, expected):
    for name in expected.__dataclass_fields__:
        a, b = getattr(found, name), getattr(expected, name)
        if name in ("train", "validation"):
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.labels, b.labels)
            assert (a.images.dtype, a.labels.dtype) == (b.images.dtype, b.labels.dtype)
        else:
            assert a == b, name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"train_limit": 12, "validation_images": 300},
    ],
    ids=str,
)
def test_the_split_of_a_seed_is_that_of_the_data_loaded_with_it(options):
    splits = load_splits("digits", (0, 4, 11), **options)
    for seed in (11, 0, 4):
        assert_equal_data(splits.of(seed), load_data("digits", seed=seed, **options))


@pytest.mark.parametrize("limit", [20])
def test_splits_of_padded_colour_images_have_statistics_of_their_own(colour_set, limit):
    splits = load_splits(colour_set[0], (1, 2), train_limit=limit)
    for seed in (1, 2):
        assert_equal_data(splits.of(seed), load_data(colour_set[0], seed=seed, train_limit=limit))
    assert splits.of(1).mean != splits.of(2).mean
    assert splits.of(1).split_digest != splits.of(2).split_digest


def test_published_statistics_hold_for_every_split(colour_set, monkeypatch):
    opened = sources.open_source(colour_set[0], "train", Path())
    published = replace(opened, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), flip=False, pad=3)
    monkeypatch.setattr("trials.data.splits.open_source", lambda *_, **__: published)
    splits = load_splits(colour_set[0], (1, 2), train_limit=20)
    for seed in (1, 2):
        found = splits.of(seed)
        assert (found.mean, found.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
        assert (found.flip, found.pad) == (False, 3)
        assert_equal_data(found, load_data(colour_set[0], seed=seed, train_limit=20))


def test_only_rows_that_some_split_needs_are_read(colour_set):
    splits = load_splits(colour_set[0], (1, 2), train_limit=6, validation_images=6)
    needed = {int(row) for part in splits.split.values() for rows in part for row in rows}
    assert splits.rows.tolist() == sorted(needed)
    assert len(splits.images) == len(needed) < 60


def test_impossible_sizes_are_refused_for_many_splits_too():
    with pytest.raises(InputError, match="train limit 5000 is impossible"):
        load_splits("digits", (1, 2), train_limit=5000)


@pytest.mark.parametrize("statistics", [None, ((3.5,), (6.0,))], ids=["own", "published"])
def test_facts_and_digest_are_those_of_the_whole_split(statistics, monkeypatch):
    both = replace(load_splits("digits", (0, 1), train_limit=60), statistics=statistics)
    wholes = {seed: both.of(seed) for seed in (0, 1)}
    monkeypatch.setattr("trials.data.splits.pad_with_mean", None)  # nothing is padded
    for seed, whole in wholes.items():
        facts = both.facts_of(seed)
        for name in ("name", "image_size", "in_channels", "num_classes", "classes", "mean", "std"):
            assert getattr(facts, name) == getattr(whole, name)
        assert both.digest_of(seed) == whole.split_digest
    assert (wholes[0].mean == wholes[1].mean) == (statistics is not None)


def test_image_sets_are_equal_if_they_are_the_same_memory():
    images, labels = np.zeros((6, 2, 2, 1), np.uint8), np.zeros(6, np.int64)
    one = ImageSet(images=images, labels=labels)
    same = ImageSet(images=images[:], labels=labels.view())
    assert one == same
    assert hash(one) == hash(same)
    for others in (
        (images.copy(), labels),
        (images, labels.copy()),
        (images[:5], labels[:5]),
        (images[::2], labels[::2]),
        (images.transpose(0, 2, 1, 3), labels),
        (images.view(np.int8), labels),
    ):
        assert one != ImageSet(images=others[0], labels=others[1])
    assert one != images.tolist()


def test_means_and_stds_of_the_user_hold_for_all_splits():
    own = ((10.0,), (20.0,))
    splits = load_splits("digits", (0, 1), normalise=own)
    for seed in (0, 1):
        data, facts = splits.of(seed), splits.facts_of(seed)
        assert (data.mean, data.std) == (facts.mean, facts.std) == own
        assert data.own_statistics
    assert not load_data("digits").own_statistics
    images, labels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)), np.arange(40) % 2
    colour = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    given = TrainingData.from_tensors(images.astype(np.uint8), labels, normalise=colour)
    assert (given.mean, given.std) == colour
    assert given.train.images[0, 0, 0].tolist() == [1, 2, 3]  # the border has the mean colour


@pytest.mark.parametrize(
    "normalise",
    [((1.0, 2.0), (3.0, 4.0)), ((1.0,), (0.0,)), ((1.0,),), "0.5/0.5", 5, ((None,), (1,))],
)
def test_means_and_stds_that_do_not_fit_are_refused(normalise):
    with pytest.raises(InputError, match=r"digits' have 1 channels; give one mean and one std"):
        load_data("digits", normalise=normalise)


def test_a_checkpoint_is_of_images_normalised_alike(tmp_path):
    network, placement = Backbone("plain", 5, width=2), Placement("1" * 3)
    spec = TrialSpec(backbone=network, placement=placement, recipe=Recipe(epochs=1))
    files = TrialFiles(checkpoints=tmp_path)
    keys = [
        files.checkpoint_of(spec, load_data("digits", normalise=own)).key
        for own in (None, ((10.0,), (20.0,)), ((10.0,), (21.0,)))
    ]
    assert len(set(keys)) == 3
