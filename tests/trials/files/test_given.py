"""Files of others: nothing is waited for, no link leads in circles, nothing is read without end."""

from __future__ import annotations

import os

import pytest

from search_spaces import InputError
from trials.files import given
from trials.files.given import files_under, open_given, read_given


def test_a_regular_file_is_read_also_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "link").symlink_to("a")
    assert read_given(tmp_path / "link", 3) == b"123"
    with open_given(tmp_path / "a") as file:
        assert file.read(2) == b"12"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "link", "loop", ".", "none", "a\0b", "\ud800"):
        with pytest.raises(OSError, match=r".") as caught:
            open_given(tmp_path / name)
        assert caught.value.strerror
    for device in ("/dev/zero", "/dev/tty"):
        with pytest.raises(OSError, match=r"regular|No such"):
            read_given(device, 10)


def test_a_larger_file_is_refused_and_not_read(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(10**12)  # without blocks on the disk
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_given(tmp_path / "a", 1000)


def test_files_come_by_folder_and_name_as_from_a_sorted_walk(tmp_path):
    for name in ("b/2", "b/1", "a", "b-c/x", "b/d/y", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walked = sorted(os.walk(tmp_path, followlinks=True))
    expected = [os.path.join(root, name) for root, _, files in walked for name in sorted(files)]
    assert [str(path) for path in files_under(tmp_path)] == expected


@pytest.mark.timeout(20)
def test_links_in_circles_are_refused(tmp_path):
    (tmp_path / "l0").symlink_to(".")
    (tmp_path / "l1").symlink_to(".")
    with pytest.raises(InputError, match=r"l[01] is a link to a folder that is listed already"):
        files_under(tmp_path)


@pytest.mark.timeout(20)
def test_links_that_double_the_paths_at_every_level_are_refused(tmp_path):
    for level in range(30):
        (tmp_path / f"f{level}").mkdir()
        for name in "ab":
            (tmp_path / f"f{level}" / name).symlink_to(tmp_path / f"f{level + 1}")
    (tmp_path / "f30").mkdir()
    with pytest.raises(InputError, match="listed already"):
        files_under(tmp_path / "f0")


def test_depth_and_number_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "DEEPEST", 2)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    assert len(files_under(tmp_path)) == 1
    (tmp_path / "a" / "b" / "c").mkdir()
    with pytest.raises(InputError, match="more than 2 folders deep"):
        files_under(tmp_path)
    monkeypatch.setattr(given, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        files_under(tmp_path)


def test_a_link_to_itself_is_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (path,) = files_under(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        open_given(path)
