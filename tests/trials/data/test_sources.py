"""Readers of named data sets and of users' files, and what they say of bad ones."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

from search_spaces import InputError
from trials.data.sources import open_source

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


def read_all(name: str, split: str = "train", data_dir: Path = NOWHERE):
    source = open_source(name, split, data_dir)
    return source.read(np.arange(len(source.labels))), source


def refuse(name: str, split: str = "train", data_dir: Path = NOWHERE) -> str:
    """The one line with which a data set is refused, on opening or on reading."""
    with pytest.raises(InputError) as caught:
        read_all(name, split, data_dir)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


# --- torchvision's data sets ------------------------------------------------------------------


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
def test_torchvision_sets_come_as_images_height_width_channels(stand_in, name, classes, flip):
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
def test_a_set_that_is_not_there_names_the_download_option(tmp_path, name):
    message = refuse(name, data_dir=tmp_path)
    assert message.startswith(f"data set {name} cannot be read from {tmp_path}")
    assert "--download" in message


@pytest.mark.parametrize("name", ["", "CIFAR10", "parquet", "a\nb", "x" * 999])
def test_an_unknown_name_lists_the_known_ones(name):
    message = refuse(name)
    assert "is unknown; use digits, cifar10, cifar100, svhn, fashion-mnist" in message
    assert "parquet:DIR or folder:DIR" in message


# --- parquet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "image_column", "label_column"),
    [(1, "img", "label"), (3, "image", "fine_label"), (3, "img", "labels")],
)
def test_parquet_png_images_come_back_pixel_for_pixel(
    tmp_path, encode, write_parquet, random_images, channels, image_column, label_column
):
    images = random_images(6, 5, 7, channels)
    write_parquet(
        tmp_path / "train.parquet",
        [encode(image) for image in images],
        [1, 0, 2, 0, 1, 2],
        image_column=image_column,
        label_column=label_column,
    )
    read, source = read_all(f"parquet:{tmp_path}")
    np.testing.assert_array_equal(read, images)
    assert source.labels.tolist() == [1, 0, 2, 0, 1, 2]
    assert source.classes == ("0", "1", "2")
    rows = np.array([4, 1])
    np.testing.assert_array_equal(source.read(rows), images[rows])


@pytest.mark.parametrize("channels", [1, 3])
def test_parquet_jpeg_images_keep_their_colour(tmp_path, encode, write_parquet, channels):
    colours = np.array([[250, 10, 20], [20, 250, 10], [10, 20, 250]], np.uint8)[:, :channels]
    flat = [np.broadcast_to(colour, (8, 8, channels)).copy() for colour in colours]
    write_parquet(tmp_path / "train.parquet", [encode(i, "JPEG") for i in flat], [0, 1, 2])
    read, _ = read_all(f"parquet:{tmp_path}")
    np.testing.assert_allclose(read.astype(int), np.stack(flat).astype(int), atol=3)


def test_parquet_shards_are_read_in_order(tmp_path, encode, write_parquet, random_images):
    images = random_images(9, 4, 4, 1)
    encoded, labels = [encode(image) for image in images], [0, 1, 2] * 3
    for shard, start in reversed(list(enumerate((0, 3, 6)))):  # not written in order
        part = slice(start, start + 3)
        path = tmp_path / f"train-0000{shard}-of-00003.parquet"
        write_parquet(path, encoded[part], labels[part])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", encoded[:3], [0, 1, 2])
    read, source = read_all(f"parquet:{tmp_path}")
    np.testing.assert_array_equal(read, images)
    assert source.labels.tolist() == labels
    assert len(open_source(f"parquet:{tmp_path}", "test", NOWHERE).labels) == 3


@pytest.fixture
def good(tmp_path, encode, write_parquet, random_images):
    """A good parquet set to spoil: its folder, encoded images, and a function to rewrite it."""
    encoded = [encode(image) for image in random_images(12, 8, 8, 3)]
    path = tmp_path / "train.parquet"

    def write(images=encoded, labels=(0, 1, 2) * 4):
        write_parquet(path, images, labels if isinstance(labels, pa.Array) else list(labels))

    write()
    return SimpleNamespace(
        name=f"parquet:{tmp_path}", folder=tmp_path, path=path, encoded=encoded, write=write
    )


BAD_LABELS = {
    "null": ((0, 1, None) * 4, "without nulls"),
    "negative": ((0, 1, -1) * 4, "must be 0 to"),
    "with a gap": ((0, 1, 3) * 4, "no image of class 2"),
    "float": ((0.0, 1.0, 2.0) * 4, "must hold integers"),
    "true and false": ((True, False) * 6, "must hold integers"),
    "all of one class": ((0,) * 12, "2 to 10000 are needed"),
    "far too large": ((0, 1, 10**15) * 4, "2 to 10000 are needed"),
    "beyond int64": (pa.array([0, 1, 2**64 - 1] * 4, pa.uint64()), "must be 0 to"),
}


@pytest.mark.parametrize("labels", BAD_LABELS)
def test_bad_labels_are_refused(good, labels):
    values, rule = BAD_LABELS[labels]
    good.write(labels=values)
    assert rule in refuse(good.name)


def test_a_truncated_file_is_refused(good):
    good.path.write_bytes(good.path.read_bytes()[:-20])
    assert "the file is truncated or not parquet" in refuse(good.name)


def test_a_file_that_is_not_parquet_is_refused(good):
    good.path.write_text("label,img\n")
    assert "the file is truncated or not parquet" in refuse(good.name)


def test_shards_of_different_columns_are_refused(good):
    good.path.rename(good.folder / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"other": [1]}), good.folder / "train-00001-of-00002.parquet")
    refuse(good.name)


def test_an_empty_table_is_refused(good):
    good.write(images=[], labels=pa.array([], pa.int64()))
    assert "the train split is empty; it needs labelled images" in refuse(good.name)


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"pixels": [b"x"], "label": [0]}, "no column img or image among"),
        ({"img": [{"bytes": b"x"}], "class": [0]}, "no column label or fine_label or labels"),
        ({"img": [b"x"], "label": [0]}, "must be a struct"),
        ({"img": [{"path": "a.png"}], "label": [0]}, "a field 'bytes'"),
        ({f"column {k}": [0] for k in range(500)}, "use the hub's image layout"),
    ],
)
def test_wrong_columns_are_refused(good, columns, rule):
    pq.write_table(pa.table(columns), good.path)
    assert rule in refuse(good.name)


@pytest.mark.parametrize("bad", [b"not an image", b"", None], ids=["text", "empty", "null"])
def test_an_image_that_cannot_be_decoded_is_named(good, bad):
    good.write(images=[*good.encoded[:7], bad, *good.encoded[8:]])
    message = refuse(good.name)
    assert f"{good.folder}/train, row 7" in message
    assert "replace or remove it" in message


def test_a_cut_image_is_named(good):
    good.write(images=[*good.encoded[:7], good.encoded[7][:-60], *good.encoded[8:]])
    assert "row 7: image cannot be decoded" in refuse(good.name)


def test_a_null_row_is_refused(good):
    images = pa.array(
        [{"bytes": data} for data in good.encoded[:-1]] + [None],
        pa.struct([("bytes", pa.binary())]),
    )
    pq.write_table(pa.table({"img": images, "label": [0, 1, 2] * 4}), good.path)
    assert "without nulls" in refuse(good.name)


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 9, 3)])
def test_images_of_two_sizes_are_refused(good, encode, random_images, shape):
    good.write(images=[*good.encoded[:-1], encode(random_images(*shape))])
    message = refuse(good.name)
    assert (
        f"row 11: image is {shape[1]}x{shape[0]} pixels in colour but the first one is 8x8"
        in message
    )
    assert "bring all images to one size" in message


def test_sixteen_bit_grey_is_scaled_or_refused_but_never_clipped(good):
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    good.write(images=[buffer.getvalue()] * 12)
    try:
        read, _ = read_all(good.name)
    except InputError:
        return
    np.testing.assert_allclose(read[0, ..., 0], ramp / 257, atol=1)


# --- image folders ----------------------------------------------------------------------------


def test_folder_images_come_back_pixel_for_pixel(tmp_path, write_folder, random_images):
    images = random_images(6, 5, 7, 3)
    write_folder(tmp_path / "train", {"dog": images[3:], "cat": images[:3]})
    read, source = read_all(f"folder:{tmp_path}")
    np.testing.assert_array_equal(read, images)
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_image_that_cannot_be_decoded_is_named(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    bad = tmp_path / "train" / "b" / "001.png"
    bad.write_bytes(b"not an image")
    assert refuse(f"folder:{tmp_path}").startswith(f"{bad}: image cannot be decoded")


def test_a_folder_image_that_cannot_be_read_is_named(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    broken = tmp_path / "train" / "b" / "009.png"
    broken.symlink_to("nowhere.png")
    assert str(broken) in refuse(f"folder:{tmp_path}")


def test_a_class_folder_without_images_is_refused(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", {"a": random_images(3, 8, 8, 3), "b": []})
    assert "is not an image folder" in refuse(f"folder:{tmp_path}")


def test_a_single_class_folder_is_refused(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", {"a": random_images(3, 8, 8, 3)})
    assert "has 1 classes; 2 to 10000 are needed" in refuse(f"folder:{tmp_path}")


# --- folders that are not there ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "where"), [("parquet", ""), ("folder", "no/such/folder"), ("parquet", "x\ny")]
)
def test_a_missing_folder_is_refused(kind, where):
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
def test_an_empty_folder_is_refused(tmp_path, kind, way_out, split):
    message = refuse(f"{kind}:{tmp_path}", split)
    assert way_out in message
    assert split in message


# --- what others put into their files ---------------------------------------------------------


def test_a_value_that_is_there_once_is_not_expanded_for_all_rows(good):
    """One value of 1 MB, dictionary-encoded over 20,000 rows: 20 GB if all were decoded at once."""
    value = bytes(1_000_000)
    index = pa.array(np.zeros(20_000, np.int32))
    repeated = pa.DictionaryArray.from_arrays(index, pa.array([value], pa.binary()))
    image = pa.StructArray.from_arrays([repeated], ["bytes"])
    pq.write_table(pa.table({"img": image, "label": [0, 1] * 10_000}), good.path)
    before = pa.total_allocated_bytes()
    assert "row 0: image cannot be decoded" in refuse(good.name)
    assert pa.default_memory_pool().max_memory() - before < 10**9


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
def test_every_encoding_of_the_column_gives_the_same_images(good, encoding):
    expected, _ = read_all(good.name)
    image = pa.StructArray.from_arrays([pa.array(good.encoded, pa.binary())], ["bytes"])
    table = pa.table({"img": image, "label": [0, 1, 2] * 4})
    pq.write_table(table, good.path, use_dictionary=False, column_encoding={"img.bytes": encoding})
    np.testing.assert_array_equal(read_all(good.name)[0], expected)


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_other_types_of_bytes_are_read(good, kind):
    expected, _ = read_all(good.name)
    image = pa.StructArray.from_arrays([pa.array(good.encoded, kind)], ["bytes"])
    pq.write_table(pa.table({"img": image, "label": [0, 1, 2] * 4}), good.path)
    np.testing.assert_array_equal(read_all(good.name)[0], expected)


@pytest.mark.parametrize(
    "values",
    [
        ["text"],
        [7],
        [True],
        [[1]],
        [[b"x"]],
        [{"a": b"x"}],
        [1.5],
    ],
    ids=["string", "int", "bool", "list", "list of bytes", "struct", "float"],
)
def test_bytes_that_are_none_are_refused(good, values):
    image = pa.StructArray.from_arrays([pa.array(values * 12)], ["bytes"])
    pq.write_table(pa.table({"img": image, "label": [0, 1, 2] * 4}), good.path)
    assert "it must be binary" in refuse(good.name)


def test_more_rows_than_a_data_set_can_have_are_refused(good, monkeypatch):
    monkeypatch.setattr("trials.data.parquet_images.MOST_FILES", 11)
    assert "more than 11 rows" in refuse(good.name)


@pytest.mark.timeout(20)
def test_a_fifo_in_a_data_set_is_not_waited_for(good, tmp_path, write_folder, random_images):
    good.path.unlink()
    os.mkfifo(good.path)
    assert "it is not a regular file" in refuse(good.name)
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    os.mkfifo(tmp_path / "train" / "b" / "009.png")
    assert "it is not a regular file" in refuse(f"folder:{tmp_path}")


@pytest.mark.timeout(20)
def test_links_in_circles_in_a_class_folder_are_refused(tmp_path, write_folder, random_images):
    write_folder(tmp_path / "train", dict.fromkeys("ab", random_images(3, 8, 8, 3)))
    for name in ("l0", "l1"):
        (tmp_path / "train" / "a" / name).symlink_to(".")
    assert "remove the link" in refuse(f"folder:{tmp_path}")


def test_names_in_another_encoding_are_read_and_shown_escaped(tmp_path, encode, random_images):
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


def test_folders_are_read_in_the_order_of_torchvision(tmp_path, write_folder, random_images):
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
