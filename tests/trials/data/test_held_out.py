"""The test split: apart from everything a search sees, and of the same kind."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from search_spaces import InputError, build
from trials import Recipe, load_data
from trials.data.held_out import check_test_split, load_paper_protocol, load_test_split
from trials.data.image_sets import ImageSet
from trials.training.evaluation import score_on_test


def test_train_validation_and_test_of_digits_are_a_partition():
    data = load_data("digits", seed=1)
    parts = (data.train, data.validation, load_test_split(data))
    assert [len(part) for part in parts] == [1038, 259, 500]
    bunch = load_digits()
    whole = np.round(bunch.images * 255 / 16).astype(np.uint8)

    def count(images, labels):
        return Counter((i.tobytes(), int(c)) for i, c in zip(images, labels, strict=True))

    assert sum((count(p.images, p.labels) for p in parts), Counter()) == count(whole, bunch.target)


def test_the_test_split_of_digits_is_fixed_and_stratified():
    first, other = (load_test_split(load_data("digits", seed=seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first.images, other.images)
    expected = np.bincount(load_digits().target) * 500 / 1797
    np.testing.assert_allclose(np.bincount(first.labels), expected, atol=1)


@pytest.fixture
def write_split(tmp_path, encode, write_parquet, random_images):
    def write(split, labels, *, size=8, channels=3):
        images = random_images(len(labels), size, size, channels, seed=len(split))
        write_parquet(tmp_path / f"{split}.parquet", [encode(i) for i in images], labels)
        return images

    return write


def test_parquet_test_images_come_whole_and_in_order(tmp_path, write_split):
    write_split("train", [0, 1, 2] * 10)
    images = write_split("test", [2, 0, 1, 1])
    held_out = load_test_split(load_data(f"parquet:{tmp_path}"))
    np.testing.assert_array_equal(held_out.images, images)
    assert held_out.labels.tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [4, 0]])
def test_a_test_split_with_other_classes_is_refused(tmp_path, write_split, labels):
    write_split("train", [0, 1, 2] * 10)
    write_split("test", labels)
    with pytest.raises(InputError, match=r"the same classes$") as caught:
        load_test_split(load_data(f"parquet:{tmp_path}"))
    assert "\n" not in str(caught.value)


def test_folders_with_other_class_names_are_refused(tmp_path, write_folder, random_images):
    images = random_images(10, 8, 8, 3)
    write_folder(tmp_path / "train", {"cat": images, "dog": images})
    write_folder(tmp_path / "test", {"cat": images, "owl": images})
    with pytest.raises(InputError, match="the same classes"):
        load_test_split(load_data(f"folder:{tmp_path}"))


@pytest.mark.parametrize("other", [{"size": 16}])
def test_a_test_split_of_another_image_shape_is_refused(tmp_path, write_split, other):
    write_split("train", [0, 1] * 10)
    write_split("test", [0, 1] * 3, **other)
    with pytest.raises(InputError, match="both must have the same shape") as caught:
        load_test_split(load_data(f"parquet:{tmp_path}"))
    assert "\n" not in str(caught.value)


def test_a_missing_test_split_is_one_clear_line(tmp_path, write_split):
    write_split("train", [0, 1] * 10)
    with pytest.raises(InputError, match=r"no test\.parquet .* put the split there"):
        load_test_split(load_data(f"parquet:{tmp_path}"))


# --- the paper's protocol ---------------------------------------------------------------------


def test_the_paper_trains_on_all_images_and_validates_on_the_test_split():
    paper, usual = load_paper_protocol("digits"), load_data("digits")
    test = load_test_split(usual)
    np.testing.assert_array_equal(paper.validation.images, test.images)
    np.testing.assert_array_equal(paper.validation.labels, test.labels)
    assert len(paper.train) == 1297 == len(usual.train) + len(usual.validation)
    both = np.concatenate([usual.train.images, usual.validation.images])
    assert Counter(i.tobytes() for i in paper.train.images) == Counter(i.tobytes() for i in both)
    np.testing.assert_allclose(paper.mean, both.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(paper.std, both.std((0, 1, 2)), rtol=1e-12)
    assert (paper.classes, paper.pad, paper.flip) == (usual.classes, usual.pad, usual.flip)
    assert len(paper.split_digest) > 0


def test_the_paper_pads_training_images_but_no_test_images(tmp_path, write_split):
    train = write_split("train", [0, 1] * 15, size=16)
    test = write_split("test", [0, 1] * 5, size=16)
    paper = load_paper_protocol(f"parquet:{tmp_path}")
    assert (paper.pad, paper.flip) == (2, True)
    np.testing.assert_array_equal(paper.train.images[:, 2:-2, 2:-2], train)
    colour = np.round(train.mean((0, 1, 2))).astype(np.uint8)
    assert (paper.train.images[:, 0, 0] == colour).all()
    np.testing.assert_array_equal(paper.validation.images, test)


@pytest.mark.parametrize("limit", [10, 500, 1287])
def test_a_train_limit_is_stratified_repeatable_and_within_the_training_images(limit):
    first, again = (load_paper_protocol("digits", train_limit=limit) for _ in range(2))
    np.testing.assert_array_equal(first.train.images, again.train.images)
    np.testing.assert_array_equal(first.train.labels, again.train.labels)
    assert len(first.train) == limit
    whole = load_paper_protocol("digits")
    shares = np.bincount(whole.train.labels) / len(whole.train)
    np.testing.assert_allclose(np.bincount(first.train.labels), limit * shares, atol=1.01)
    every = Counter(i.tobytes() for i in whole.train.images)
    assert not Counter(i.tobytes() for i in first.train.images) - every
    np.testing.assert_array_equal(first.validation.images, whole.validation.images)


def test_a_train_limit_of_all_images_is_no_limit():
    all_of_them = load_paper_protocol("digits", train_limit=1297)
    np.testing.assert_array_equal(
        all_of_them.train.images, load_paper_protocol("digits").train.images
    )


@pytest.mark.parametrize("limit", [-1, 9, 1298])
def test_an_impossible_train_limit_of_the_paper_names_the_possible_ones(limit):
    with pytest.raises(InputError, match=rf"train limit {limit} .*; use 10 to 1297$"):
        load_paper_protocol("digits", train_limit=limit)


@pytest.mark.parametrize("limit", [1288, 1296])
def test_nearly_all_training_images_are_a_possible_train_limit(limit):
    assert len(load_paper_protocol("digits", train_limit=limit).train) == limit


@pytest.mark.parametrize("missing", ["train", "test"])
def test_the_paper_needs_both_splits(missing, tmp_path, write_split):
    write_split("test" if missing == "train" else "train", [0, 1] * 10)
    with pytest.raises(InputError, match=rf"no {missing}\.parquet"):
        load_paper_protocol(f"parquet:{tmp_path}")


# --- scores -----------------------------------------------------------------------------------


def test_a_check_of_the_test_split_reads_no_image(tmp_path, write_split):
    write_split("train", [0, 1] * 10)
    write_split("test", [0, 1] * 3)
    data = load_data(f"parquet:{tmp_path}")
    check_test_split(data)
    write_split("test", [0, 1, 2] * 3)
    with pytest.raises(InputError, match="the same classes"):
        check_test_split(data)
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(InputError, match="put the split there"):
        check_test_split(data)


@pytest.mark.parametrize("size", [3, 500, 1100])
def test_scores_are_those_of_a_plain_forward_pass(size):
    """Above 500 images there are several batches, the last of them short."""
    data = load_data("digits", train_limit=30)
    whole = load_test_split(data)
    chosen = np.arange(size) % len(whole)
    test = ImageSet(images=whole.images[chosen], labels=whole.labels[chosen])
    model = build("plain-8", width=4, in_channels=1, generator=torch.Generator().manual_seed(2))
    loss, accuracy = score_on_test(model, test, data, Recipe(epochs=1), "cpu")
    pixels = (test.images.astype(np.float32) - np.float32(data.mean)) / np.float32(data.std)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2)).double()
    labels = torch.from_numpy(test.labels)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item(), abs=0.003)
    assert loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert not model.training
