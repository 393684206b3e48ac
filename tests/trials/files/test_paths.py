"""Paths as users type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces import InputError
from trials.files.paths import absolute_data, absolute_path, user_path


def test_a_home_folder_is_filled_in_and_the_rest_left_as_typed():
    assert user_path("~/x") == Path.home() / "x"
    assert user_path("a/../b") == Path("a/../b")


def test_an_absolute_path_follows_links_only_where_it_must(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    monkeypatch.chdir(tmp_path)
    assert absolute_path("link/x") == f"{tmp_path}/link/x"
    assert absolute_path("link/../x") == f"{tmp_path}/far/x"  # not tmp_path/x
    assert absolute_path("/a/b") == "/a/b"
    assert absolute_data("folder:link") == f"folder:{tmp_path}/link"
    assert [absolute_data(name) for name in ("digits", "folder:")] == ["digits", "folder:"]


@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "a" * 5000, "a\0b"])
def test_what_is_no_path_is_one_clear_line(text):
    with pytest.raises(InputError, match=r"cannot be used .*; give another path$") as caught:
        user_path(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize("value", [None, 3, b"x", ["x"]])
def test_what_is_neither_text_nor_path_is_refused(value):
    with pytest.raises(InputError, match="it must be a text or a Path"):
        user_path(value)
