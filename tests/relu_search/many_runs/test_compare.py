"""Runs side by side, on made-up searches whose numbers are known."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.figure_faults import faults_of
from helpers.judging import TRIALS, make_search
from helpers.report_pages import Page, check_safe
from scipy import stats

from relu_search.many_runs.comparison import compare
from relu_search.many_runs.comparison_page import _front_figure, _regret_figure
from search_spaces import InputError

OTHER = [
    ("COMPLETE", "paired", "1*6", 0.52),
    ("COMPLETE", "2:1", "01*3", 0.65),
    ("COMPLETE", "linear", "0*6", 0.41),
    ("COMPLETE", "", "0+1*5", 0.66),
    ("COMPLETE", "", "00+1*4", 0.80),
]


@pytest.fixture
def two(tmp_path):
    """Two searches: paths, as a user types them. The best of all is 0.80 in the second one."""
    return [
        str(make_search(tmp_path / "gp")),
        str(make_search(tmp_path / "random", trials=OTHER, sampler="random")),
    ]


def test_only_the_options_that_differ_are_shown(two):
    assert compare(two).options == [("sampler", ["gp", "random"])]


def test_a_placement_is_one_row_with_its_number_in_each_run(two):
    board = {row.name: row.cells for row in compare(two).board}
    assert board["paired"] == ["50.0 % (n = 1)", "52.0 % (n = 1)"]
    assert board["0+1*5"] == ["70.0 % (n = 1)", "66.0 % (n = 1)"]
    assert board["1*5+0"] == ["55.0 % (n = 1)", "-"]
    assert board["00+1*4"] == ["-", "80.0 % (n = 1)"]


def test_a_front_has_no_placement_outside_of_the_limits_of_its_search(tmp_path):
    folders = [make_search(tmp_path / str(least), min_relus=least) for least in (1, 4)]
    fronts = compare(list(map(str, folders))).fronts  # made-up ReLUs: 3, 4 and 5
    assert list(fronts["1"]["placement"]) == ["1*6", "01*3", "0+1*5"]
    assert list(fronts["4"]["placement"]) == ["01*3", "0+1*5"]


def test_the_figures_of_the_page_have_no_fault(two):
    found = compare(two)
    for drawn in (_regret_figure(found), _front_figure(found)):
        assert faults_of(drawn.figure) == []


def test_common_placements_are_paired_with_a_t_interval(two):
    (found,) = compare(two).differences
    gaps = np.array([0.52 - 0.50, 0.65 - 0.60, 0.41 - 0.40, 0.66 - 0.70])
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (found.run, found.base, found.placements) == ("random", "gp", 4)
    assert (found.mean, found.low, found.high) == pytest.approx((gaps.mean(), low, high))
    assert "told apart" not in found.text(compare(two).metric)


def test_a_difference_of_losses_is_above_0_where_the_run_is_better(tmp_path):
    folders = [make_search(tmp_path / n, metric="val_loss") for n in ("a", "b")]
    table = folders[1] / "trials.csv"
    table.write_text(re.sub(r"(?<=,)1\.0(?=,1\.0,1\.0,)", "0.75", table.read_text()))
    (found,) = compare(list(map(str, folders))).differences
    assert found.mean == pytest.approx(0.25)


def test_regret_is_behind_the_best_of_all_runs_by_trials_and_hours(two):
    """Each trial takes a second. In the first run the leaders are trials 0, 1 and 5."""
    regrets = compare(two).regrets
    first = regrets["gp"]
    assert list(first["trials"]) == [1, 2, 3, 4, 6]
    assert list(first["hours"] * 3600) == pytest.approx([1, 2, 3, 4, 6])
    assert list(first["regret"]) == pytest.approx([0.3, 0.2, 0.2, 0.2, 0.1])
    assert list(regrets["random"]["regret"]) == pytest.approx([0.28, 0.15, 0.15, 0.14, 0])


def test_networks_of_other_depth_share_their_modules_only(tmp_path):
    deep = [("COMPLETE", "paired", "1*12", 0.6), ("COMPLETE", "", "0+1*11", 0.7)]
    folders = [
        make_search(tmp_path / "shallow"),
        make_search(tmp_path / "deep", backbone="plain-14", trials=deep),
    ]
    found = compare(list(map(str, folders)))
    assert [one.placements for one in found.differences] == [1]
    assert found.differences[0].low is None
    assert dict(found.options)["backbone"] == ["plain-8", "plain-14"]


def test_runs_on_other_images_are_said_to_be_so_and_have_a_regret_of_their_own(tmp_path):
    folders = [make_search(tmp_path / "a"), make_search(tmp_path / "b", digest="00", trials=OTHER)]
    found = compare(list(map(str, folders)))
    assert any("different validation images" in note for note in found.notes)
    assert [table["regret"].iloc[-1] for table in found.regrets.values()] == [0, 0]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a"], "1 run given; compare 2 to 8"),
        (["a", "a"], "a run is given twice"),
        (["a", "none"], "not a run folder"),
        (["a", "early"], "early has no full-length trial yet"),
    ],
)
def test_what_cannot_be_compared_is_refused(names, reason, tmp_path):
    make_search(tmp_path / "a")
    make_search(tmp_path / "early", trials=[t for t in TRIALS if t[0] == "PRUNED"])
    with pytest.raises(InputError, match=reason):
        compare([str(tmp_path / name) for name in names])


def test_the_command_prints_tables_or_json_and_writes_a_page(two, cli, cli_json, tmp_path):
    code, out, _ = cli("compare", *two)
    assert code == 0
    for part in ("sampler", "70.0 % (n = 1)", "random against gp on 4 common placements: +1.0"):
        assert part in out
    page = tmp_path / "pages" / "comparison.html"
    found = cli_json("compare", *two, "--page", page)
    assert found["page"] == str(page)
    assert found["options"] == {"sampler": {"gp": "gp", "random": "random"}}
    assert found["regret"]["random"][-1]["regret"] == 0
    text = page.read_text()
    assert text.count("data:image/svg+xml;base64,") == 2
    check_safe(Page(text))
    code, _, err = cli("compare", two[0])
    assert (code, "compare 2 to 8" in err) == (2, True)
