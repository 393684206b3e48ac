"""What a search says about data before it trains: the test split, small classes, equal images."""

from __future__ import annotations

import numpy as np
import pytest

from search_spaces import InputError
from trials.data.held_out import load_test_split
from trials.data.outlook import outlook_on_test
from trials.data.pixels import require_varied
from trials.data.splits import load_data, load_splits


@pytest.fixture
def write(tmp_path, write_folder, random_images):
    def write(split, counts, size=8, channels=3):
        classes = {
            name: random_images(count, size, size, channels, seed=len(split) + 7 * number)
            for number, (name, count) in enumerate(counts.items())
        }
        write_folder(tmp_path / split, classes)
        return f"folder:{tmp_path}"

    return write


def test_a_fitting_test_split_is_nothing_to_speak_of(write):
    write("train", {"a": 10, "b": 10})
    name = write("test", {"a": 3, "b": 3})
    assert outlook_on_test(load_data(name)) == []


def test_a_missing_test_split_is_a_warning(write, tmp_path):
    name = write("train", {"a": 10, "b": 10})
    (line,) = outlook_on_test(load_data(name))
    assert line.startswith("WARNING: there is no test split, which relu-search confirm needs")


def test_a_rare_class_that_is_missing_is_a_warning_and_labels_stay_right(write):
    write("train", {"a": 10, "b": 10, "c": 10})
    data = load_data(write("test", {"a": 2, "c": 3}))
    (line,) = outlook_on_test(data)
    assert "the test split has no image of 1 of 3 classes: b" in line
    assert load_test_split(data).labels.tolist() == [0, 0, 2, 2, 2]


def test_numbered_test_labels_may_lack_the_last_class(
    tmp_path, encode, write_parquet, random_images
):
    for split, labels in (("train", [0, 1, 2] * 6), ("test", [1, 0])):
        images = random_images(len(labels), 8, 8, 3, seed=len(labels))
        write_parquet(tmp_path / f"{split}.parquet", [encode(i) for i in images], labels)
    data = load_data(f"parquet:{tmp_path}")
    (line,) = outlook_on_test(data)
    assert "no image of 1 of 3 classes: 2" in line
    assert load_test_split(data).labels.tolist() == [1, 0]


def test_unknown_classes_and_other_sizes_are_refused_before_the_search(write, tmp_path):
    write("train", {"a": 10, "b": 10})
    name = write("test", {"a": 2, "owl": 3})
    with pytest.raises(InputError, match="both must have the same classes"):
        outlook_on_test(load_data(name))
    other = write("train/../second/train", {"a": 10, "b": 10}) + "/second"
    write("second/test", {"a": 2, "b": 2}, size=9)
    with pytest.raises(InputError, match="the test image is 9x9 pixels, training images are 8x8"):
        outlook_on_test(load_data(other))
    assert outlook_on_test(load_data(other, image_size=8)) == []
    assert load_test_split(load_data(other, image_size=8)).images.shape == (4, 8, 8, 3)


def test_grey_test_images_of_a_colour_set_are_converted(write):
    write("train", {"a": 10, "b": 10})
    data = load_data(write("test", {"a": 2, "b": 2}, channels=1))
    assert outlook_on_test(data) == []
    assert load_test_split(data).images.shape == (4, 8, 8, 3)


# --- classes that are too small ---------------------------------------------------------------


def test_a_class_with_one_image_is_named(write):
    name = write("train", {"a": 10, "emu": 1, "b": 10})
    with pytest.raises(InputError, match=r"1 of 3 classes have one image only: emu \(1\)"):
        load_data(name)


def test_classes_that_validation_lacks_are_named(write):
    said = []
    load_data(write("train", {"a": 40, "emu": 2, "b": 40}), say=said.append)
    assert said == ["WARNING: 1 of 3 classes have too few images for the validation split: emu (2)"]


# --- images that are on both sides ------------------------------------------------------------


def test_images_on_both_sides_of_the_split_are_counted_and_named(write, tmp_path):
    name = write("train", {"a": 10, "b": 10})
    for number in range(10):
        source = tmp_path / "train" / "a" / f"{number:03}.png"
        (tmp_path / "train" / "a" / f"{number:03} (1).png").write_bytes(source.read_bytes())
    said = []
    splits = load_splits(name, (0, 1), say=said.append)
    train, validation = splits.of(0).train, splits.of(0).validation
    inner = train.images[:, 1:-1, 1:-1]
    twice = sum(any(np.array_equal(one, other) for other in inner) for one in validation.images)
    assert twice > 0
    (line,) = said
    assert line.startswith(f"WARNING: {twice} of {len(validation)} validation images are equal")
    assert "train/a/00" in line


# --- sets in which nothing can be seen --------------------------------------------------------


def flat(count, value):
    return np.full((count, 8, 8, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda rng: flat(20, 0), "all 20 images are alike"),
        (lambda rng: flat(20, 0) + rng.integers(0, 2, (20, 8, 8, 3), np.uint8), "are alike"),
        (lambda rng: np.stack([rng.integers(0, 256, (8, 8, 3), np.uint8)] * 20), "are alike"),
        (
            lambda rng: np.concatenate([flat(11, 9), rng.integers(0, 256, (9, 8, 8, 3), np.uint8)]),
            "11 of 20 images have one colour only",
        ),
    ],
)
def test_sets_in_which_nothing_can_be_seen_are_refused(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        require_varied(make(np.random.default_rng(0)), "x")
    assert "transparent pixels are shown on white" in str(caught.value)


def test_sparse_images_and_some_empty_ones_are_accepted():
    sparse = flat(20, 0)
    sparse[np.arange(20), np.arange(20) % 8, 3] = 255
    require_varied(sparse, "x")
    sparse[:9] = 0
    require_varied(sparse, "x")


def test_glyphs_in_the_alpha_channel_are_seen(tmp_path, random_images):
    """Before, they were black on black, and were trained on."""
    from PIL import Image

    for name, first in (("a", 1), ("b", 4)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.zeros((8, 8, 4), np.uint8)
            pixels[first : first + 3, number % 5 :, 3] = 255
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{number}.png")
    data = load_data(f"folder:{tmp_path}")
    assert data.train.images.std() > 50
