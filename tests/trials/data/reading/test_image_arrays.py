"""Images in a cache file: as those in memory, for this process and for others."""

from __future__ import annotations

import gc
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search_spaces import InputError
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.data.reading import image_arrays
from trials.data.reading.image_arrays import CACHE_VARIABLE, new_images
from trials.data.splits import load_splits

ROOT = Path(__file__).parents[4]
SHOWN = """
import pickle, sys
data = pickle.load(open(sys.argv[1], "rb"))
print(type(data.train.images).__name__, data.train.images.sum(), data.train.images.flags.writeable)
"""


@pytest.fixture
def name(tmp_path, write_folder, random_images):
    some = list(random_images(30, 8, 8, 3))
    write_folder(tmp_path / "set" / "train", {"a": some[:15], "b": some[15:]})
    return f"folder:{tmp_path / 'set'}"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of cache files; every set of images is too large for memory."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.setattr(image_arrays, "memory_limit", lambda: 100)
    return folder


def files_in(folder):
    gc.collect()
    return [path for path in folder.rglob("*") if path.is_file()]


def test_mapped_images_are_those_in_memory(name, cache, monkeypatch):
    mapped = load_data(name)
    assert isinstance(mapped.train.images, np.memmap)
    monkeypatch.setattr(image_arrays, "memory_limit", lambda: 2**40)
    whole = load_data(name)
    assert not isinstance(whole.train.images, np.memmap)
    for split in ("train", "validation"):
        ours, theirs = getattr(mapped, split), getattr(whole, split)
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert (mapped.split_digest, mapped.mean, mapped.std) == (
        *(whole.split_digest, whole.mean, whole.std),
    )
    recipe = Recipe(epochs=1, batch_size=8)
    spec = TrialSpec(backbone="plain-5", width=2, placement="paired", recipe=recipe)
    losses = [run_trial(spec, data).epochs[0].train_loss for data in (mapped, whole)]
    assert losses[0] == losses[1]


def test_the_share_of_memory_decides(monkeypatch, tmp_path):
    shape = (10, 8, 8, 3)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    needed = 3 * 10 * 8 * 8 * 3
    for limit, is_mapped in ((2 * needed, False), (2 * needed - 1, True)):
        monkeypatch.setattr(image_arrays, "memory_limit", lambda limit=limit: limit)
        assert isinstance(new_images(shape, "x"), np.memmap) == is_mapped


def test_another_process_gets_the_file_and_not_the_pixels(name, cache, tmp_path):
    data = load_data(name)
    sent = pickle.dumps(data)
    assert len(sent) < data.train.images.nbytes
    (tmp_path / "sent").write_bytes(sent)
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, str(tmp_path / "sent")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["memmap", str(data.train.images.sum()), "False"]
    one, two = (pickle.loads(sent).train.images for _ in range(2))
    assert np.shares_memory(one, two)  # so a GPU gets them once


def test_a_part_of_mapped_images_is_sent_as_that_part(name, cache):
    data = load_data(name)
    few = pickle.loads(pickle.dumps(data.train.first(5)))
    np.testing.assert_array_equal(few.images, data.train.images[:5])
    assert isinstance(few.images, np.memmap)
    late = image_arrays.as_received(image_arrays.as_sent(data.train.images[3:]))
    np.testing.assert_array_equal(late, data.train.images[3:])


def test_splits_are_sent_by_file_and_split_there(name, cache):
    splits = load_splits(name, (0, 1))
    sent = pickle.dumps(splits)
    assert len(sent) < splits.images.nbytes
    np.testing.assert_array_equal(pickle.loads(sent).of(1).train.images, splits.of(1).train.images)


def test_files_go_with_their_arrays(name, cache):
    lines: list[str] = []
    data = load_data(name, say=lines.append)
    assert len(files_in(cache)) == 1  # the padded training images
    assert "they are in a cache file in" in lines[0]
    del data
    assert files_in(cache) == []


def test_a_full_disk_is_one_line(name, cache, monkeypatch):
    usage = shutil.disk_usage(cache)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(InputError, match=rf"GiB free; use fewer .* or set {CACHE_VARIABLE}$"):
        load_data(name)


def test_a_folder_that_does_not_exist_is_one_line(name, cache, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(cache / "nowhere"))
    with pytest.raises(InputError, match=r"cache file in .*nowhere cannot be made"):
        load_data(name)


def test_a_machine_that_does_not_see_the_file_says_so(name, cache):
    sent = pickle.dumps(load_data(name))
    gc.collect()
    with pytest.raises(InputError, match="which this machine does not see"):
        pickle.loads(sent)
