"""Images in parquet files, and what is said of bad ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from search_spaces import InputError
from trials.data.reading.sources import open_source

NOWHERE = Path("nowhere")


@pytest.mark.parametrize(
    ("channels", "image_column", "label_column"),
    [(1, "img", "label"), (3, "image", "fine_label"), (3, "img", "labels")],
)
def test_parquet_png_images_come_back_pixel_for_pixel(
    tmp_path, encode, write_parquet, random_images, channels, image_column, label_column, read_all
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
def test_parquet_jpeg_images_keep_their_colour(tmp_path, encode, write_parquet, channels, read_all):
    colours = np.array([[250, 10, 20], [20, 250, 10], [10, 20, 250]], np.uint8)[:, :channels]
    flat = [np.broadcast_to(colour, (8, 8, channels)).copy() for colour in colours]
    write_parquet(tmp_path / "train.parquet", [encode(i, "JPEG") for i in flat], [0, 1, 2])
    read, _ = read_all(f"parquet:{tmp_path}")
    np.testing.assert_allclose(read.astype(int), np.stack(flat).astype(int), atol=3)


def test_parquet_shards_are_read_in_order(tmp_path, encode, write_parquet, random_images, read_all):
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
def test_bad_labels_are_refused(good, labels, refuse):
    values, rule = BAD_LABELS[labels]
    good.write(labels=values)
    assert rule in refuse(good.name)


def test_a_truncated_file_is_refused(good, refuse):
    good.path.write_bytes(good.path.read_bytes()[:-20])
    assert "the file is truncated or not parquet" in refuse(good.name)


def test_a_file_that_is_not_parquet_is_refused(good, refuse):
    good.path.write_text("label,img\n")
    assert "the file is truncated or not parquet" in refuse(good.name)


def test_shards_of_different_columns_are_refused(good, refuse):
    good.path.rename(good.folder / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"other": [1]}), good.folder / "train-00001-of-00002.parquet")
    refuse(good.name)


def test_an_empty_table_is_refused(good, refuse):
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
def test_wrong_columns_are_refused(good, columns, rule, refuse):
    pq.write_table(pa.table(columns), good.path)
    assert rule in refuse(good.name)


@pytest.mark.parametrize("bad", [b"not an image", b"", None], ids=["text", "empty", "null"])
def test_an_image_that_cannot_be_decoded_is_named(good, bad, refuse):
    good.write(images=[*good.encoded[:7], bad, *good.encoded[8:]])
    message = refuse(good.name)
    assert f"{good.folder}/train, row 7" in message
    assert "replace or remove it" in message


def test_a_cut_image_is_named(good, refuse):
    good.write(images=[*good.encoded[:7], good.encoded[7][:-60], *good.encoded[8:]])
    assert "row 7: image cannot be decoded" in refuse(good.name)


def test_a_null_row_is_refused(good, refuse):
    images = pa.array(
        [{"bytes": data} for data in good.encoded[:-1]] + [None],
        pa.struct([("bytes", pa.binary())]),
    )
    pq.write_table(pa.table({"img": images, "label": [0, 1, 2] * 4}), good.path)
    assert "without nulls" in refuse(good.name)


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 9, 3)])
def test_images_of_two_sizes_are_refused(good, encode, random_images, shape, refuse):
    good.write(images=[*good.encoded[:-1], encode(random_images(*shape))])
    message = refuse(good.name)
    assert (
        f"row 11: image is {shape[1]}x{shape[0]} pixels in colour but the first one is 8x8"
        in message
    )
    assert "--image-size 64, to bring all to one size" in message


def test_sixteen_bit_grey_is_scaled_or_refused_but_never_clipped(good, read_all):
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    good.write(images=[buffer.getvalue()] * 12)
    try:
        read, _ = read_all(good.name)
    except InputError:
        return
    np.testing.assert_allclose(read[0, ..., 0], ramp / 257, atol=1)


def test_a_value_that_is_there_once_is_not_expanded_for_all_rows(good, refuse):
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
def test_every_encoding_of_the_column_gives_the_same_images(good, encoding, read_all):
    expected, _ = read_all(good.name)
    image = pa.StructArray.from_arrays([pa.array(good.encoded, pa.binary())], ["bytes"])
    table = pa.table({"img": image, "label": [0, 1, 2] * 4})
    pq.write_table(table, good.path, use_dictionary=False, column_encoding={"img.bytes": encoding})
    np.testing.assert_array_equal(read_all(good.name)[0], expected)


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_other_types_of_bytes_are_read(good, kind, read_all):
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
def test_bytes_that_are_none_are_refused(good, values, refuse):
    image = pa.StructArray.from_arrays([pa.array(values * 12)], ["bytes"])
    pq.write_table(pa.table({"img": image, "label": [0, 1, 2] * 4}), good.path)
    assert "it must be binary" in refuse(good.name)


def test_more_rows_than_a_data_set_can_have_are_refused(good, monkeypatch, refuse):
    monkeypatch.setattr("trials.data.reading.parquet_images.MOST_FILES", 11)
    assert "more than 11 rows" in refuse(good.name)


@pytest.mark.slow
@pytest.mark.parametrize("is_in_dictionary", [False, True])
def test_a_row_group_of_more_than_2_gib_of_images_is_read(tmp_path, encode, is_in_dictionary):
    """Each image has 64 MiB of zeros behind its end, which viewers ignore."""
    rows, image = 36, np.full((8, 8, 3), 7, np.uint8)
    padded = encode(image).ljust(2**26, b"\0")
    one = pa.StructArray.from_arrays([pa.array([padded]), pa.array(["x"])], ["bytes", "path"])
    labels = pa.array([row % 2 for row in range(rows)])
    table = pa.table({"image": pa.chunked_array([one] * rows), "label": labels})
    path = tmp_path / "train.parquet"
    how = {"compression": "zstd", "use_dictionary": is_in_dictionary, "row_group_size": rows}
    pq.write_table(table, path, **how)
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert group.num_rows * len(padded) > 2**31
    source = open_source(f"parquet:{tmp_path}", "train", NOWHERE)
    for chosen in ([0, 3], range(rows)):
        images = source.read(np.array(chosen))
        np.testing.assert_array_equal(images, np.stack([image] * len(chosen)))
