"""Images in folders, and what is said of bad ones."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torchvision

from trials.data.reading.sources import open_source


def test_folder_images_come_back_pixel_for_pixel(tmp_path, write_folder, random_images, read_all):
    images = random_images(6, 5, 7, 3)
    write_folder(tmp_path / "train", {"dog": images[3:], "cat": images[:3]})
    read, source = read_all(f"folder:{tmp_path}")
    np.testing.assert_array_equal(read, images)
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_image_that_cannot_be_decoded_is_named(
    tmp_path, write_folder, random_images, refuse
):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    bad = tmp_path / "train" / "b" / "001.png"
    bad.write_bytes(b"not an image")
    assert refuse(f"folder:{tmp_path}").startswith(f"{bad}: image cannot be decoded")


def test_a_folder_image_that_cannot_be_read_is_named(tmp_path, write_folder, random_images, refuse):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    broken = tmp_path / "train" / "b" / "009.png"
    broken.symlink_to("nowhere.png")
    assert str(broken) in refuse(f"folder:{tmp_path}")


def test_a_class_folder_without_images_is_refused(tmp_path, write_folder, random_images, refuse):
    write_folder(tmp_path / "train", {"a": random_images(3, 8, 8, 3), "b": []})
    assert "is not an image folder" in refuse(f"folder:{tmp_path}")


def test_a_single_class_folder_is_refused(tmp_path, write_folder, random_images, refuse):
    write_folder(tmp_path / "train", {"a": random_images(3, 8, 8, 3)})
    assert "has 1 classes; 2 to 10000 are needed" in refuse(f"folder:{tmp_path}")


@pytest.mark.timeout(20)
def test_a_fifo_in_a_data_set_is_not_waited_for(
    good, tmp_path, write_folder, random_images, refuse
):
    good.path.unlink()
    os.mkfifo(good.path)
    assert "it is not a regular file" in refuse(good.name)
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    os.mkfifo(tmp_path / "train" / "b" / "009.png")
    assert "it is not a regular file" in refuse(f"folder:{tmp_path}")


@pytest.mark.timeout(20)
def test_links_in_circles_in_a_class_folder_are_refused(
    tmp_path, write_folder, random_images, refuse
):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    for name in ("l0", "l1"):
        (tmp_path / "train" / "a" / name).symlink_to(".")
    assert "remove the link" in refuse(f"folder:{tmp_path}")


def test_names_in_another_encoding_are_read_and_shown_escaped(
    tmp_path, encode, random_images, read_all
):
    """Old archives have file names that are no UTF-8."""
    images = random_images(6, 5, 7, 3)
    for number, image in enumerate(images):
        name = [b"caf\xe9", b"b\x1b[31m"][number % 2]
        folder = os.path.join(os.fsencode(tmp_path), b"train", name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, b"\xff%d.png" % number), "wb") as file:
            file.write(encode(image))
    read, source = read_all(f"folder:{tmp_path}")
    assert source.classes == ("b\\x1b[31m", "caf\\xe9")
    np.testing.assert_array_equal(read, images[[1, 3, 5, 0, 2, 4]])


def test_folders_are_read_in_the_order_of_torchvision(
    tmp_path, write_folder, random_images, read_all
):
    write_folder(
        tmp_path / "train", dict.fromkeys(["b", "B", "a-c", "a"], random_images(3, 8, 8, 3))
    )
    write_folder(tmp_path / "train" / "a", {"z": random_images(2, 8, 8, 3, seed=1)})
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    expected = torchvision.datasets.ImageFolder(str(tmp_path / "train"))
    read, source = read_all(f"folder:{tmp_path}")
    assert source.classes == tuple(expected.classes)
    assert source.labels.tolist() == expected.targets
    np.testing.assert_array_equal(read, np.stack([np.asarray(image) for image, _ in expected]))


RUBBISH = (
    *(".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"),
    *("System Volume Information", "__pycache__"),
)


@pytest.mark.parametrize("within_a_class", [True, False])
def test_what_systems_leave_is_no_class_and_no_image(
    tmp_path, write_folder, random_images, encode, read_all, within_a_class
):
    images = random_images(3, 8, 8, 3)
    write_folder(tmp_path / "train", {"a": images, "b": images})
    for name in RUBBISH:
        folder = tmp_path / "train" / ("a" if within_a_class else "") / name
        folder.mkdir()
        (folder / "copy.png").write_bytes(encode(images[0]))
    (tmp_path / "train" / "b" / "._000.png").write_bytes(b"not an image")
    read, source = read_all(f"folder:{tmp_path}")
    assert source.classes == ("a", "b")
    assert len(read) == 6
    assert source.note.startswith(f"{len(RUBBISH) + 1} hidden or system files and folders")


def test_nothing_is_said_of_a_clean_folder(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    assert open_source(f"folder:{tmp_path}", "train", tmp_path).note == ""
