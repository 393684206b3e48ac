"""Paths as users type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces import InputError
from trials.files.paths import user_path


def test_a_home_folder_is_filled_in_and_the_rest_left_as_typed():
    assert user_path("~/x") == Path.home() / "x"
    assert user_path("a/../b") == Path("a/../b")


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
