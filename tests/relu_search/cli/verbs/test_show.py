"""`relu-search show`."""

from __future__ import annotations

import pytest
from helpers.command_line import by_arguments, check_refused

from search_spaces import FAMILIES
from search_spaces.drawing import KEY


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vgg-16"], "vgg-16"),
        (["plain-8", "012"], "placement"),
        (["plain-8", "01*4"], "6"),
        (["plain-8", "2:1/first"], "2:1/first"),
        (["plain-8", "1*6@end-norm"], "end-norm"),
        (["plain-8", "--num-classes", "1"], "num_classes is 1"),
        (["plain-8", "--image-size", "7"], "7x7"),
        (["plain-8", "--image-size", "5000"], "4096"),
        (["plain-8", "--in-channels", "0"], "in_channels"),
        (["plain-8", "--norm", "both"], "keep"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["show", *arguments], says)


# Worked out by hand from the definitions of the paper and of arXiv:1611.07718.
@pytest.mark.parametrize(
    ("backbone", "cifar10", "linear_on_cifar100"),
    [("plain-38", 561_370, 567_220), ("dfn-110", 1_710_426, 1_716_276)],
)
def test_show_gives_parameter_counts(backbone, cifar10, linear_on_cifar100, cli_json):
    assert cli_json("show", backbone)["params"] == cifar10
    linear = cli_json("show", backbone, "linear", "--num-classes", 100)
    assert linear["params"] == linear_on_cifar100


@pytest.mark.parametrize(
    ("backbone", "module", "convs", "relus", "ratio"),
    [
        ("preresnet-110", "2:1/first", 108, 54, "2:1"),
        ("preresnet-bottleneck-110", "3:2/type1", 108, 72, "3:2"),
        ("dfn-110", "paired", 108, 107, "108:107"),
        ("dfn-110", "4:3/type1", 108, 81, "4:3"),
        ("dfn-110", "4:3/type2", 108, 80, "27:20"),
        ("resnet-62", "linear", 60, 0, "1:0"),
    ],
)
def test_show_gives_the_ratios_of_the_paper(backbone, module, convs, relus, ratio, cli_json):
    facts = cli_json("show", backbone, module)
    assert (facts["convs"], facts["relus"], facts["ratio"]) == (convs, relus, ratio)
    assert facts["module"] == module


def test_show_without_json_is_a_table_for_people(cli):
    code, out, err = cli("show", "plain-8", "01*3")
    assert (code, err) == (0, "")
    for text in ("plain-8", "01*3 (2:1)", "6 convs : 3 ReLUs", "░█", KEY):
        assert text in out


def test_show_draws_one_bar_per_stage(cli, cli_json):
    network = ("preresnet-20", "1*6+01*3+0*6")
    bars = ["██ ██ ██", "░█ ░█ ░█", "░░ ░░ ░░"]
    assert cli_json("show", *network)["drawing"] == bars
    lines = [line.split() for line in cli("show", *network)[1].splitlines()]
    for stage, bar in enumerate(bars, start=1):
        assert ["stage", str(stage), *bar.split()] in lines


def test_show_says_what_norm_and_activation_do(cli):
    code, out, _ = cli("show", "plain-8", "01*3", "--norm", "drop", "--activation", "prelu")
    assert code == 0
    assert "the BatchNorm directly before a dropped ReLU is dropped" in out
    assert "prelu at the kept sites: +" in out


def test_the_help_of_show_names_every_family(cli):
    text = " ".join(cli("show", "--help")[1].replace("│", " ").split())
    assert all(f"{family}-D" in text for family in FAMILIES)
