"""TOML files: what cannot be read is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relu_search.settings.option_files import read_toml
from search_spaces import InputError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"trials = ", "not valid TOML"),
        (b"trials = 1\ntrials = 2", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8 text; save it as UTF-8"),
        (b"a = " + b"[" * 9_000, "not valid TOML"),
        (b"# x\n" * 1_000_001, "larger than"),
        (b"a." * 1_900_000 + b"b = 1", "a line of over"),
    ],
    ids=["no value", "key twice", "not UTF-8", "deep", "large", "long line"],
)
def test_a_file_that_is_no_toml_is_refused(content, says, tmp_path):
    file = tmp_path / "options.toml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_toml(file)
    assert "options.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_a_file_is_read_with_and_without_a_byte_order_mark(before, tmp_path):
    file = tmp_path / "options.toml"
    file.write_bytes(before + b"trials = 3\r\nbackbone = 'plain-8'\r\n")
    assert read_toml(file) == {"trials": 3, "backbone": "plain-8"}


def test_a_folder_or_nothing_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(InputError, match=f"{path.name} cannot be read"):
            read_toml(path)


@pytest.mark.timeout(20)
def test_a_fifo_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for path in (tmp_path / "fifo", tmp_path / "link", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(InputError, match=r"cannot be read: it is (not|no)"):
            read_toml(path)


@pytest.mark.parametrize(
    "number", ["9" * 400, "-" + "9" * 400, "0x" + "f" * 9_000, "[[[9" + "9" * 40 + "]]]"]
)
def test_numbers_of_more_than_64_bits_are_refused(number, tmp_path):
    (tmp_path / "a.toml").write_text(f"[a]\nb = {number}\n")
    with pytest.raises(InputError, match=r"whole number of \d+ bits"):
        read_toml(tmp_path / "a.toml")
