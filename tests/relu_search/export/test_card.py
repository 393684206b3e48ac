"""Cards: what is read, and what is refused."""

from __future__ import annotations

import json

import pytest

from relu_search import load_exported
from relu_search.export.card import normalisation_of, read_card
from search_spaces import InputError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "'schema'"),
        (" " * 1_000_001, "larger than"),
    ],
    ids=["empty", "cut off", "deep", "a list", "no entries", "oversized"],
)
def test_a_file_that_is_no_card_is_refused(content, says, exported):
    folder, _ = exported
    (folder / "card.json").write_text(content)
    with pytest.raises(InputError, match=says):
        load_exported(folder)


def test_a_card_that_is_not_text_or_not_there_is_refused(exported):
    folder, _ = exported
    (folder / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        load_exported(folder)
    (folder / "card.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_exported(folder)


def test_a_newer_schema_asks_for_an_update(exported):
    folder, change = exported
    change(schema=4)
    with pytest.raises(InputError, match=r"schema 4.*update"):
        read_card(folder)


def test_a_card_of_schema_1_is_still_read(card):
    content = json.loads((card / "card.json").read_text())
    kept = ("backbone", "width", "placement", "num_classes", "in_channels", "files")
    old = {"schema": 1, **{key: content[key] for key in kept}}
    (card / "card.json").write_text(json.dumps(old))
    assert load_exported(card).activation == "relu"


@pytest.mark.parametrize(
    "entry",
    [{"mean": [1.0]}, {"mean": [1.0] * 3, "std": [0.0, 1, 1]}, [1], {"mean": "x", "std": "y"}],
    ids=str,
)
def test_a_damaged_normalisation_is_refused(entry):
    with pytest.raises(InputError, match=r"normalisation is|std is"):
        normalisation_of({"normalisation": entry, "in_channels": 3})


def test_a_card_that_an_editor_saved_with_a_byte_order_mark_is_read(exported):
    folder, _ = exported
    file = folder / "card.json"
    before = read_card(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_card(file) == before
