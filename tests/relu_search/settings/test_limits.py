"""Limits on the ReLUs kept: ratios, shares and numbers."""

from __future__ import annotations

import pytest

from relu_search import SearchConfig
from relu_search.settings.limits import (
    least_count,
    most_count,
    normalise_text,
    relus_at_ratio,
    statistics_of,
)
from search_spaces import Backbone, InputError, module_placement, parse_backbone


@pytest.mark.parametrize(
    ("backbone", "ratio", "count"),
    [("plain-38", "2:1", 18), ("plain-38", "12:7", 21), ("preresnet-20", "3:2", 12)],
)
def test_a_ratio_is_a_number_of_relus(backbone, ratio, count):
    assert relus_at_ratio(Backbone.parse(backbone), ratio) == count


def test_an_impossible_ratio_is_refused():
    for ratio in ("37:5", "2-1", "0:1", "1:5", "2:1:1", "9" * 30 + ":1", "1" * 5000 + ":1"):
        with pytest.raises(InputError, match=f"ratio '?{ratio[:40]}"):
            relus_at_ratio(Backbone.parse("plain-38"), ratio)
    with pytest.raises(InputError, match=r"7:3 is impossible: .*7.714 ReLUs are not a whole"):
        relus_at_ratio(Backbone.parse("preresnet-20"), "7:3")


@pytest.mark.parametrize(
    ("backbone", "ratio"), [("plain-9", "3:1"), ("plain-9", "2:1"), ("preplain-11", "4:3")]
)
def test_a_ratio_that_is_not_exact_is_that_of_its_module(backbone, ratio):
    parsed = Backbone.parse(backbone)
    convs, relus = map(int, ratio.split(":"))
    assert parsed.convs * relus % convs
    assert relus_at_ratio(parsed, ratio) == module_placement(parsed, ratio).bits.count("1")
    space = SearchConfig(backbone=backbone, ratio=ratio, granularity="site").resolve()
    kept = module_placement(parsed, ratio).kept
    assert (space.min_relus, space.max_relus) == (kept, kept)


@pytest.mark.parametrize(
    ("share", "sites", "least", "most"),
    [
        ("25%", 10, 3, 2),
        ("25%", 36, 9, 9),
        ("60%", 36, 22, 21),
        ("2.8%", 36, 2, 1),
        ("7", 36, 7, 7),
        ("0%", 36, 0, 0),
        ("100%", 36, 36, 36),
        ("1.1%", 1000, 11, 11),
        ("0.1%", 1000, 1, 1),
    ],
)
def test_a_share_admits_only_placements_within_it(share, sites, least, most):
    """The lower limit is rounded up and the upper one down, in exact arithmetic."""
    assert (least_count(share, sites), most_count(share, sites)) == (least, most)


def test_other_texts_are_no_limit():
    for text in ("60 %x", "%", "-3", "1.5", "many"):
        with pytest.raises(InputError, match=r"max_relus is .*share"):
            most_count(text, 36)
        with pytest.raises(InputError, match=r"min_relus is .*share"):
            least_count(text, 36)


@pytest.mark.parametrize("text", ["٣", "٣٠%", "９", "9" * 5_000, "9" * 5_000 + "%", "3.٥%"])
def test_other_digits_and_too_many_digits_are_no_limit(text):
    for count in (most_count, least_count):
        with pytest.raises(InputError, match="write a whole number, or a share"):
            count(text, 36)


@pytest.mark.parametrize("text", ["٢:١", "9" * 5_000 + ":1", "1:" + "9" * 5_000])
def test_other_digits_and_too_many_digits_are_no_ratio(text):
    with pytest.raises(InputError, match="is no N:M"):
        relus_at_ratio(Backbone.parse("plain-20"), text)


def test_means_and_stds_are_written_in_0_to_1():
    assert statistics_of("0.2,0.4,0.6/0.1,0.2,1") == ((51.0, 102.0, 153.0), (25.5, 51.0, 255.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.5",
        "0.5/",
        "0.5/0",
        "0.5,0.5/0.5",
        "1.1/0.5",
        "nan/0.5",
        "0.5/nan",
        "-1/1",
        "a/b",
        "1/1/1",
    ],
)
def test_other_texts_are_no_means_and_stds(text):
    with pytest.raises(InputError, match=r"write data, pretrained, or as many means"):
        normalise_text(text, parse_backbone("plain-5", 2))


def test_with_pretrained_weights_their_means_and_stds_are_the_default():
    options = {"backbone": "torchvision:resnet18", "weights": "pretrained"}
    numbers = "0.485,0.456,0.406/0.229,0.224,0.225"
    assert SearchConfig(**options).resolve().normalise == numbers
    assert SearchConfig(**options, normalise="data").resolve().normalise == "data"
    assert SearchConfig(backbone="torchvision:resnet18").resolve().normalise == "data"
    named = SearchConfig(backbone="torchvision:resnet18", normalise="pretrained").resolve()
    assert named.normalise == numbers
