"""Options as dataclass fields: their types and ranges are checked, their texts are there."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import pytest

from relu_search.settings.option_fields import check_options, option, options_of, same_option
from search_spaces import InputError


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A made-up dataclass with an option of each kind."""

    door: bool = option(False, "Run", "Open.")
    shelves: int = option(3, "Data", "Number of shelves.", least=1, most=9)
    price: float = option(2.5, "Data", "Price.", above=0)
    name: str | None = option(None, "Run", "Name.", secret=True)
    size: Literal["s", "m"] = option("s", "Run", "Size.")
    guests: int | Literal["all"] = option("all", "Run", "Guests.", least=1)
    inner: list[int] | None = None

    def __post_init__(self) -> None:
        check_options(self)


def test_values_of_the_type_and_in_the_range_are_taken():
    Shop(door=True, shelves=1, price=1, name="x", size="m", guests=4)
    Shop(shelves=9, price=1e-9)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"door": 1}, "door is 1; it must be true or false"),
        ({"shelves": True}, "shelves is True; it must be a whole number"),
        ({"shelves": 3.0}, "a whole number"),
        ({"shelves": 0}, "shelves is 0; it must be at least 1"),
        ({"shelves": 10}, "shelves is 10; it must be at most 9"),
        ({"price": "3"}, "price is '3'; it must be a number"),
        ({"price": math.nan}, "price is nan"),
        ({"price": 10**400}, "must be a number"),
        ({"price": 0}, "price is 0; it must be above 0"),
        ({"name": 3}, "a text or left out"),
        ({"size": "xl"}, "size is 'xl'; it must be one of s, m"),
        ({"size": ["s"]}, "one of s, m"),
        ({"guests": "many"}, "guests is 'many'; it must be all or a whole number"),
        ({"guests": 0}, "at least 1"),
    ],
    ids=str,
)
def test_other_values_are_refused_in_one_line(values, says):
    with pytest.raises(InputError, match=says) as caught:
        Shop(**values)
    assert "\n" not in str(caught.value)


def test_only_fields_made_by_option_are_options():
    assert list(options_of(Shop)) == ["door", "shelves", "price", "name", "size", "guests"]
    assert options_of(Shop)["shelves"].help == "Number of shelves."


def test_a_secret_is_neither_in_the_repr_nor_in_a_message():
    assert "x3" not in repr(Shop(name="x3"))
    with pytest.raises(InputError, match="name is a value of type list") as caught:
        Shop(name=["x3"])
    assert "x3" not in str(caught.value)


def test_the_same_option_has_the_same_default_and_texts():
    @dataclass(frozen=True)
    class Other:
        shelves: int = same_option(Shop, "shelves")
        name: str | None = same_option(Shop, "name")

    assert options_of(Other) == {name: options_of(Shop)[name] for name in ("shelves", "name")}
    assert [(one.default, one.repr) for one in fields(Other)] == [(3, True), (None, False)]
