"""Files that are written whole or not at all, and lines that survive a crash."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from trials.files.durable import (
    StorageError,
    append_lines,
    cut_half_line,
    read_lines,
    remove_partial_files,
    write_whole,
)

# What a crash may leave behind the last whole line: nothing, half a row, a lone carriage return,
# or the zeros of blocks that were allocated and never filled.
TAILS = [b"", b"7,COMP", b"7,8\r", b"\0" * 5000, "7,é".encode()[:-1]]


WHOLE = [b"", b"a,b\n", b"a,b\r\n1,2\r\n" * 3000]


@pytest.mark.parametrize(
    ("whole", "tail"),
    [(WHOLE[i], tail) for i, tail in enumerate([*TAILS, *TAILS[:2]], start=1) for i in (i % 3,)],
)
def test_a_half_written_last_line_is_dropped(whole, tail, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(whole + tail)
    assert read_lines(path).encode() == whole
    append_lines(path, "3,4\n5,6\n")
    assert path.read_bytes() == whole + b"3,4\n5,6\n"
    path.write_bytes(whole + tail)
    cut_half_line(path)
    assert path.read_bytes() == whole


def test_lines_are_added_to_an_existing_file_only(tmp_path):
    with pytest.raises(StorageError, match=r"gone\.csv cannot be written: No such file"):
        append_lines(tmp_path / "gone.csv", "1\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_a_storage_error_that_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("a\n")
    with open("/dev/full", "r+b", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr("trials.files.durable._write_all", lambda file, content: full.write(content))
        for write in (append_lines, write_whole):
            with pytest.raises(StorageError) as caught:
                write(path, "b\n")
            assert str(caught.value) == f"{path} cannot be written: No space left on device"
    assert path.read_text() == "a\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_reaches_the_disk_before_the_call_returns(tmp_path, monkeypatch):
    """The content, and the name of a file: without the folder's a rename may be lost."""
    synced, fsync = [], os.fsync

    def watch(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "file").exists()))
        fsync(descriptor)

    path = tmp_path / "file"
    monkeypatch.setattr(os, "fsync", watch)
    write_whole(path, "a\n")
    append_lines(path, "b\n")
    assert synced[0][0].startswith(str(tmp_path / ".file."))
    assert [exists for _, exists in synced] == [False, True, True]
    assert [name for name, _ in synced[1:]] == [str(tmp_path), str(path)]


@pytest.mark.parametrize(
    ("number", "is_fault"), [(errno.EIO, True), (errno.EINVAL, False)], ids=["fault", "unable"]
)
def test_a_folder_that_cannot_be_synced_is_a_fault_only_if_the_disk_fails(
    tmp_path, monkeypatch, number, is_fault
):
    fsync = os.fsync

    def refuse(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) if is_fault else contextlib.nullcontext():
        write_whole(tmp_path / "file", "a\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    (tmp_path / ".a.safetensors.1234abcd.partial").write_text("half")
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "a.partial").write_text("mine")
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.partial"]
