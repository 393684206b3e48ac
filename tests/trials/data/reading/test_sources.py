"""Readers of named data sets, and what they say of bad ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from search_spaces import InputError
from trials.data.reading.sources import open_source

NOWHERE = Path("nowhere")


PUBLISHED = {
    "cifar10": ((125.307, 122.950, 113.865), (62.993, 62.089, 66.705)),
    "cifar100": ((129.304, 124.070, 112.434), (68.170, 65.392, 70.418)),
}
CLASS_NAMES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
    "fashion-mnist": "FashionMNIST",
}


@pytest.fixture
def stand_in(monkeypatch, random_images):
    """Replace a torchvision class by a small one with the real one's attributes."""

    def install(name, classes):
        seen = {}
        colour, grey = random_images(2 * classes, 4, 6, 3), random_images(2 * classes, 4, 6)
        labels = [k % classes for k in range(2 * classes)]
        made = {
            "cifar10": lambda: {"data": colour, "targets": labels},
            "cifar100": lambda: {"data": colour, "targets": labels},
            "svhn": lambda: {"data": colour.transpose(0, 3, 1, 2), "labels": np.array(labels)},
            "fashion-mnist": lambda: {
                "data": torch.from_numpy(grey),
                "targets": torch.tensor(labels),
            },
        }[name]()
        if name != "svhn":  # the real SVHN has no class names
            made["classes"] = [f"class {c}" for c in range(classes)]

        def dataset(root, **options):
            seen.update(options, root=root)
            return SimpleNamespace(**made)

        monkeypatch.setattr(torchvision.datasets, CLASS_NAMES[name], dataset)
        return grey[..., None] if name == "fashion-mnist" else colour, labels, seen

    return install


@pytest.mark.parametrize(
    ("name", "classes", "flip"),
    [
        ("cifar10", 10, True),
        ("cifar100", 100, True),
        ("svhn", 10, False),
        ("fashion-mnist", 10, True),
    ],
)
def test_torchvision_sets_come_as_images_height_width_channels(
    stand_in, name, classes, flip, read_all
):
    images, labels, _ = stand_in(name, classes)
    read, source = read_all(name)
    np.testing.assert_array_equal(read, images)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == labels
    assert len(source.classes) == classes
    assert source.flip is flip
    assert (source.mean, source.std) == PUBLISHED.get(name, (None, None))
    rows = np.array([5, 0, 3])
    np.testing.assert_array_equal(source.read(rows), images[rows])


@pytest.mark.parametrize(
    ("name", "split", "download"),
    [
        ("cifar10", "train", True),
        ("cifar10", "test", False),
        ("svhn", "train", False),
        ("svhn", "test", True),
    ],
)
def test_torchvision_is_asked_for_the_right_split(stand_in, tmp_path, name, split, download):
    _, _, seen = stand_in(name, 10)
    open_source(name, split, tmp_path, download=download)
    selected = {"split": split} if name == "svhn" else {"train": split == "train"}
    assert seen == {"root": str(tmp_path), "download": download, **selected}


def write_idx(file, values):
    """An IDX file of bytes, gzipped, as its description says: two zeros, 8, dimensions, sizes."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    file.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def packed(tmp_path):
    """Fashion-MNIST's four files in torchvision's layout, still gzipped; and the training split."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        write_idx(raw / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte.gz", labels)
        splits[split] = (images, labels)
    return raw, splits


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("test", "t10k")])
def test_fashion_mnist_is_read_gzipped_and_equals_torchvisions_reading(
    packed, tmp_path, split, name
):
    raw, splits = packed
    before = sorted(raw.iterdir())
    found = open_source("fashion-mnist", split, tmp_path)
    images, labels = splits[name]
    assert np.array_equal(found.read(np.arange(len(labels))), images[..., None])
    assert np.array_equal(found.labels, labels)
    assert sorted(raw.iterdir()) == before
    for file in before:
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    unpacked = open_source("fashion-mnist", split, tmp_path)
    assert np.array_equal(unpacked.read(np.arange(5)), found.read(np.arange(5)))
    assert np.array_equal(unpacked.labels, found.labels)
    assert unpacked.classes == found.classes


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: gzip.compress(gzip.decompress(content)[:-1]),
        lambda content: gzip.compress(b"\0\0\x0d" + gzip.decompress(content)[3:]),
        lambda content: gzip.compress(b""),
        lambda content: b"no gzip",
    ],
    ids=["cut", "a byte short", "floats", "empty", "not gzip"],
)
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_damaged_gzipped_files_are_refused(packed, tmp_path, file, damage):
    raw, _ = packed
    content = (raw / file).read_bytes()
    (raw / file).write_bytes(damage(content))
    with pytest.raises(InputError, match=r"fashion-mnist cannot be read from .*--download"):
        open_source("fashion-mnist", "train", tmp_path)


@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_a_set_that_is_not_there_names_the_download_option(tmp_path, name, refuse):
    message = refuse(name, data_dir=tmp_path)
    assert message.startswith(f"data set {name} cannot be read from {tmp_path}")
    assert "--download" in message


@pytest.mark.parametrize("name", ["", "CIFAR10", "parquet", "a\nb", "x" * 999])
def test_an_unknown_name_lists_the_known_ones(name, refuse):
    message = refuse(name)
    assert "is unknown; use digits, cifar10, cifar100, svhn, fashion-mnist" in message
    assert "parquet:DIR or folder:DIR" in message


@pytest.mark.parametrize(
    ("kind", "where"), [("parquet", ""), ("folder", "no/such/folder"), ("parquet", "x\ny")]
)
def test_a_missing_folder_is_refused(kind, where, refuse):
    message = refuse(f"{kind}:{where}")
    assert f"folder {where!r} does not exist; give an existing one" in message


@pytest.mark.parametrize(
    ("kind", "split", "way_out"),
    [
        ("parquet", "train", "put the split there"),
        ("parquet", "test", "put the split there"),
        ("folder", "test", "it needs one sub-folder"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path, kind, way_out, split, refuse):
    message = refuse(f"{kind}:{tmp_path}", split)
    assert way_out in message
    assert split in message
