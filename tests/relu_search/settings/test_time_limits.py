"""Times as users write and read them."""

from __future__ import annotations

import pytest

from relu_search.settings.limits import duration_text, seconds_of
from search_spaces import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1d12h", 129_600),
        ("1h30m15s", 5415),
        ("0h5m", 300),
    ],
)
def test_a_time_is_the_sum_of_its_parts(text, seconds):
    assert seconds_of(text, "time budget") == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "2 h", "2H", "-1h", "1h1d", "1m1m", "0s", "0.5s", "3651d", "1e3s", "inf", "٢h"],
)
def test_other_texts_are_refused_with_the_rule(text):
    with pytest.raises(InputError, match=r"^time budget is .*; write a time from 1s to 3650d"):
        seconds_of(text, "time budget")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.04 s"),
        (45, "45 s"),
        (119, "119 s"),
        (174, "2.9 min"),
        (7200, "2 h"),
        (5400, "90 min"),
        (200_000, "2.3 d"),
    ],
)
def test_a_duration_is_told_in_one_unit(seconds, text):
    assert duration_text(seconds) == text
