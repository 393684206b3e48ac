"""The test split: apart from everything a search sees, and of the same kind."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from search_spaces import InputError
from trials import load_data
from trials.held_out import load_test_split


@pytest.mark.parametrize("seed", [0, 1])
def test_train_validation_and_test_of_digits_are_a_partition(seed):
    data = load_data("digits", seed=seed)
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


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 1, 2, 3]])
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


@pytest.mark.parametrize("other", [{"size": 16}, {"channels": 1}])
def test_a_test_split_of_another_image_shape_is_refused(tmp_path, write_split, other):
    write_split("train", [0, 1] * 10)
    write_split("test", [0, 1] * 3, **other)
    with pytest.raises(InputError, match="both need one size") as caught:
        load_test_split(load_data(f"parquet:{tmp_path}"))
    assert "\n" not in str(caught.value)


def test_a_missing_test_split_is_one_clear_line(tmp_path, write_split):
    write_split("train", [0, 1] * 10)
    with pytest.raises(InputError, match=r"no test\.parquet .* put the split there"):
        load_test_split(load_data(f"parquet:{tmp_path}"))
