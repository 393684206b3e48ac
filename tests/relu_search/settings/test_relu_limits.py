"""Limits on the ReLUs kept: ratios, shares and numbers."""

from __future__ import annotations

import pytest

from relu_search.settings.relu_limits import count_of, relus_at_ratio
from search_spaces import Backbone, InputError


@pytest.mark.parametrize(
    ("backbone", "ratio", "count"),
    [("plain-38", "2:1", 18), ("plain-38", "12:7", 21), ("preresnet-20", "3:2", 12)],
)
def test_a_ratio_is_a_number_of_relus(backbone, ratio, count):
    assert relus_at_ratio(Backbone.parse(backbone), ratio) == count


def test_an_impossible_ratio_is_refused():
    for ratio in ("7:3", "2-1", "0:1", "1:5", "2:1:1", "9" * 30 + ":1", "1" * 5000 + ":1"):
        with pytest.raises(InputError, match=f"ratio '?{ratio[:40]}"):
            relus_at_ratio(Backbone.parse("plain-38"), ratio)


def test_a_share_is_rounded_down():
    assert [count_of("max_relus", text, 36) for text in ("25%", "60%", "2.8%", "7", "0%")] == [
        *(9, 21, 1, 7, 0)
    ]


def test_other_texts_are_no_limit():
    for text in ("60 %x", "%", "-3", "1.5", "many"):
        with pytest.raises(InputError, match=r"max_relus is .*share"):
            count_of("max_relus", text, 36)


@pytest.mark.parametrize("text", ["٣", "٣٠%", "９", "9" * 5_000, "9" * 5_000 + "%", "3.٥%"])
def test_other_digits_and_too_many_digits_are_no_limit(text):
    with pytest.raises(InputError, match="write a whole number, or a share"):
        count_of("max_relus", text, 36)


@pytest.mark.parametrize("text", ["٢:١", "9" * 5_000 + ":1", "1:" + "9" * 5_000])
def test_other_digits_and_too_many_digits_are_no_ratio(text):
    with pytest.raises(InputError, match="is no N:M"):
        relus_at_ratio(Backbone.parse("plain-20"), text)
