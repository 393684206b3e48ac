"""Which parquet files make up a split, in folders as people have them."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from trials.data.reading.sources import open_source


@pytest.fixture
def put(tmp_path, encode, write_parquet, random_images):
    """Write parquet files of these names, four images each."""

    def put(*names):
        for number, name in enumerate(names):
            images = random_images(4, 8, 8, 3, seed=number)
            write_parquet(tmp_path / name, [encode(i) for i in images], [0, 1] * 2)
        return f"parquet:{tmp_path}"

    return put


HASH = "-b4aaeceff1d90ecb"


@pytest.mark.parametrize(
    "names",
    [
        ["train.parquet"],
        ["train-00000-of-00001.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        ["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"],
        [f"train-00000-of-00002{HASH}.parquet", f"train-00001-of-00002{HASH}.parquet"],
        ["train-a.parquet", "train-b.parquet"],
        ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
        ["plain_text/train-00000-of-00001.parquet"],
        ["data/train.parquet", "other/train.parquet"],
    ],
    ids=str,
)
def test_layouts_that_are_read(put, names, read_all):
    name = put(*names)
    images, source = read_all(name)
    training = [one for one in names if "test" not in one and not one.startswith("other")]
    assert len(images) == len(source.labels) == 4 * len(training)


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["train-00000-of-00002.parquet"], "holds 1 of the 2 train files"),
        (
            ["train-00000-of-00002.parquet", "train-00000-of-00002 (1).parquet"],
            "train-00000-of-00002 (1).parquet among its train files, which is no shard",
        ),
        (
            [f"train-00000-of-00002{h}.parquet" for h in (HASH, "-0123456789abcdef")],
            "of several uploads",
        ),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "of several uploads"),
        (
            ["train-00000-of-00001.parquet", f"train-00000-of-00001{HASH}.parquet"],
            "several uploads",
        ),
        (["train-00000-of-00002.parquet", "train-00003-of-00002.parquet"], "exactly once"),
        (["train-0-of-2.parquet", "train-00000-of-2.parquet"], "exactly once"),
        (["train.parquet", "train-00000-of-00001.parquet"], "train.parquet among its train files"),
        (["train.parquet", "train-more.parquet"], "among its train files"),
        (["a/train.parquet", "b/train.parquet"], "several of its folders have some: a, b"),
        (["data/test.parquet"], "no train.parquet"),
    ],
    ids=str,
)
def test_layouts_that_are_refused(put, names, rule, refuse):
    assert rule in refuse(put(*names))


def test_a_pointer_of_git_lfs_is_named(tmp_path, refuse):
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    assert "run git lfs pull" in refuse(f"parquet:{tmp_path}")


def with_features(path, names):
    table = pq.read_table(path)
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    metadata = {b"huggingface": json.dumps(features).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_class_names_of_the_hub_are_kept(put, tmp_path):
    name = put("train.parquet")
    with_features(tmp_path / "train.parquet", ["cat", "dog"])
    assert open_source(name, "train", tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("names", [["cat"], [], "cats", [1, 2], None], ids=str)
def test_class_names_that_do_not_fit_are_numbers(put, tmp_path, names):
    name = put("train.parquet")
    with_features(tmp_path / "train.parquet", names)
    assert open_source(name, "train", tmp_path).classes == ("0", "1")


def test_a_named_class_without_images_is_named(put, tmp_path, refuse):
    name = put("train.parquet")
    with_features(tmp_path / "train.parquet", ["cat", "dog", "emu"])
    assert "no image of class 2 (emu)" in refuse(name)


def test_metadata_of_another_kind_are_ignored(put, tmp_path):
    name = put("train.parquet")
    table = pq.read_table(tmp_path / "train.parquet")
    for metadata in ({b"huggingface": b"{"}, {b"huggingface": b"[" * 10_000}, {b"a": b"b"}):
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
        assert open_source(name, "train", tmp_path).classes == ("0", "1")
