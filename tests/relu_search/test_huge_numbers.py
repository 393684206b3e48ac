"""Numbers that Python refuses to print, as arguments in Python and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from relu_search import SearchConfig, confirm
from relu_search.analysis.placement_facts import describe
from relu_search.reproduce.paper_experiments import ReproduceSettings
from search_spaces import Backbone, InputError, Placement, SearchSpace, build, measure_complexity
from trials import load_data
from trials.running.resources import Resources

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "old_run"
HUGE = 10**5_000
BACKBONE = Backbone("plain", 8, 4)


@pytest.mark.parametrize("number", [HUGE, -HUGE], ids=["huge", "-huge"])
@pytest.mark.parametrize(
    "call",
    [
        lambda n: Backbone("plain", 8, n),
        lambda n: Backbone("plain", n, 4),
        lambda n: build("plain-8", num_classes=n),
        lambda n: SearchSpace(BACKBONE, max_relus=n),
        lambda n: measure_complexity(
            BACKBONE, Placement("1" * 6), num_classes=2, image_size=(n, n)
        ),
        lambda n: Resources(max_failures=-abs(n)),
        lambda n: load_data("digits", train_limit=n),
        lambda n: load_data("digits", validation_images=n),
        lambda n: SearchConfig(width=n),
        lambda n: ReproduceSettings(experiment="table1", seeds=n),
        lambda n: ReproduceSettings(experiment="table1", first_seed=n),
        lambda n: describe("plain-8", "paired", image_size=n),
        lambda n: confirm(OLD_RUN, seeds=n),
        lambda n: confirm(OLD_RUN, first_seed=n),
        lambda n: confirm(OLD_RUN, margin=n),
    ],
)
def test_a_number_of_thousands_of_digits_is_one_line(call, number):
    with pytest.raises(InputError, match="a whole number of 16610 bits"):
        call(number)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--trials", "1_0"],
        ["search", "--pack", "1_0"],
        ["search", "--cpus-per-trial", "0_1"],
        ["confirm", "x", "--seeds", "1_0"],
        ["confirm", "x", "--margin", "0.3_0"],
        ["export", "x", "--out", "y", "--trial", "1_0"],
        ["bench", "x", "--rounds", "3_0"],
        ["show", "plain-8", "--width", "1_6"],
        ["train", "--epochs", "1_0"],
        ["reproduce", "table1", "--seeds", "1_0"],
        ["reproduce", "table1", "--depths", "3_8"],
    ],
    ids=" ".join,
)
def test_an_underscore_makes_no_number(arguments, cli):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert arguments[-1] in err
    assert "number" in err
    assert err.count("\n") == 1
