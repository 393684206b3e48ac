"""Our runs against the published numbers: intervals, signs, orders, and changed settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.reproducing import PUBLISHED, run_table, small
from scipy import stats
from statsmodels.stats.multitest import multipletests

from relu_search.reproduce.agreement import (
    Difference,
    Sample,
    compare_with_paper,
    distance_lines,
    order_lines,
)
from relu_search.reproduce.paper_experiments import ReproduceSettings


def welch_rows():
    """(study, data, depth, module) -> scipy's Welch test of module against paired."""
    found = {}
    for (study, data, depth), row in PUBLISHED.items():
        for module, (mean, std) in row.items():
            if module != "paired":
                reference = row["paired"]
                found[study, data, depth, module] = stats.ttest_ind_from_stats(
                    mean, std, 5, *reference, 5, equal_var=False
                )
    return found


def scipy_interval(a, b):
    """Welch's 95 % interval by the Welch-Satterthwaite degrees of freedom."""
    (m1, s1, n1), (m2, s2, n2) = a, b
    v1, v2 = s1**2 / n1, s2**2 / n2
    freedom = (v1 + v2) ** 2 / (v1**2 / (n1 - 1) + v2**2 / (n2 - 1))
    return stats.t.interval(0.95, freedom, loc=m1 - m2, scale=math.sqrt(v1 + v2))


def test_intervals_of_published_differences_are_welchs():
    for (study, data, depth, module), test in welch_rows().items():
        row = PUBLISHED[study, data, depth]
        found = Difference.between(Sample.published(*row[module]), Sample.published(*row["paired"]))
        expected = scipy_interval((*row[module], 5), (*row["paired"], 5))
        assert (found.low, found.high) == pytest.approx(expected)
        assert found.value == pytest.approx(row[module][0] - row["paired"][0])
        assert (found.sign == 0) == (test.pvalue > 0.05)


def test_intervals_of_our_differences_are_scipys():
    rng = np.random.default_rng(3)
    for n, m in ((2, 2), (5, 3), (6, 40)):
        a, b = rng.normal(0.6, 0.02, n), rng.normal(0.5, 0.05, m)
        found = Difference.between(Sample.of(a.tolist()), Sample.of(b.tolist()))
        test = stats.ttest_ind(100 * a, 100 * b, equal_var=False)
        assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert found.sign == (0 if test.pvalue > 0.05 else 1)


def test_a_difference_without_any_spread_is_a_point():
    flat = Sample.of([0.5, 0.5])
    found = Difference.between(Sample.of([0.75, 0.75]), flat)
    assert (found.value, found.low, found.high, found.sign) == (25, 25, 25, 1)
    assert Difference.between(flat, flat).sign == 0


def test_the_printed_figures_support_five_of_ten_rows():
    """As reference.md says: Welch, n = 5, Holm over the ten rows."""
    rows = welch_rows()
    assert len(rows) == 10
    adjusted = multipletests([test.pvalue for test in rows.values()], method="holm")[1]
    supported = {key[:3] for key, p in zip(rows, adjusted, strict=True) if p <= 0.05}
    assert supported == {
        ("table1", "cifar100", 62),
        ("table1", "cifar100", 84),
        ("table2", "cifar100", 62),
        ("table2", "cifar100", 110),
        ("table2", "cifar100", 164),
    }


# --- our runs and the published ones ----------------------------------------------------------


def test_rows_hold_our_means_beside_the_published_ones():
    settings = ReproduceSettings(experiment="table1", depths=(62,), seeds=3)
    values = {"paired": [0.50, 0.52, 0.54], "2:1": [0.60, 0.61, 0.65]}
    runs = run_table({("plain-62", m): v for m, v in values.items()}, data="cifar100")
    paired, dropped = compare_with_paper(settings, runs)
    assert (paired.module, dropped.module) == ("paired", "2:1")
    for row in (paired, dropped):
        mine = 100 * np.array(values[row.module])
        assert row.ours.mean == pytest.approx(np.mean(mine))
        assert row.ours.std == pytest.approx(np.std(mine, ddof=1))
        assert row.ours.n == 3
        published = PUBLISHED["table1", "cifar100", 62][row.module]
        assert (row.published.mean, row.published.std, row.published.n) == (*published, 5)
    assert paired.our_difference is paired.published_difference is None
    assert paired.sign == ""
    assert dropped.our_difference.value == pytest.approx(10.0)
    assert dropped.published_difference.value == pytest.approx(60.86 - 56.88)
    assert dropped.sign == "agrees"


@pytest.mark.parametrize(
    ("depth", "ours", "words"),
    [
        (62, [0.60, 0.61, 0.62], "agrees"),
        (62, [0.40, 0.41, 0.42], "DISAGREES"),
        (62, [0.50, 0.52, 0.51], "ours is undecided"),
        (38, [0.60, 0.61, 0.62], "theirs is undecided"),
        (38, [0.50, 0.52, 0.51], "ours is undecided"),
        (20, [0.60, 0.61, 0.62], ""),
    ],
)
def test_sign_words(depth, ours, words):
    settings = ReproduceSettings(experiment="table1", data="digits", depths=(depth,))
    name = f"plain-{depth}"
    runs = run_table({(name, "paired"): [0.50, 0.51, 0.52], (name, "2:1"): ours})
    assert compare_with_paper(settings, runs)[1].sign == words


def test_modules_with_fewer_than_two_scored_runs_are_left_out():
    settings = ReproduceSettings(experiment="table1", data="digits", depths=(8,))
    runs = run_table({("plain-8", "paired"): [0.5, 0.6], ("plain-8", "2:1"): [0.5, None]})
    assert [row.module for row in compare_with_paper(settings, runs)] == ["paired"]
    runs.loc[1, "state"] = "FAIL"
    assert compare_with_paper(settings, runs) == []


MEANS = {"paired": 0.50, "3:2/type1": 0.60, "3:2/type2": 0.55, "3:2/type3": 0.45}


def order(study, depth, means):
    name = f"preresnet-bottleneck-{depth}"
    runs = run_table({(name, m): [v - 0.01, v + 0.01] for m, v in means.items()})
    (line,) = order_lines(ReproduceSettings(experiment=study, data="digits", depths=(depth,)), runs)
    return line


def test_orders_and_kendalls_tau_by_hand():
    same = order("figure7", 110, MEANS)
    assert "our order 3:2/type1 > 3:2/type2 > paired > 3:2/type3" in same
    assert same.endswith("3:2/type1 > 3:2/type2 > paired > 3:2/type3: the same")
    # figure 8 has type 3 above paired: one of six pairs is turned around, (5 - 1) / 6
    assert order("figure8", 164, MEANS).endswith("> 3:2/type3 > paired: Kendall's tau +0.67")
    # turned around altogether
    upside_down = {module: 1 - value for module, value in MEANS.items()}
    assert order("figure7", 110, upside_down).endswith("Kendall's tau -1.00")
    # another depth is compared with the figure's own, and that is said
    assert "the paper's at depth 110 3:2/type1 >" in order("figure7", 29, MEANS)


def test_orders_of_tables_come_from_the_printed_means():
    """No figure was published for type 2 on CIFAR-10, so the order there is of two modules."""
    cells = {"paired": 0.5, "4:3/type1": 0.4, "4:3/type2": 0.6}
    runs = run_table({("dfn-110", m): [v - 0.01, v + 0.01] for m, v in cells.items()}, "cifar10")
    lines = order_lines(ReproduceSettings(experiment="table3"), runs)
    assert len(lines) == 1
    assert "our order 4:3/type2 > paired > 4:3/type1" in lines[0]
    assert lines[0].endswith("the paper's 4:3/type1 > paired: Kendall's tau -1.00")
    other = ReproduceSettings(experiment="table3", data="digits", depths=(26,))
    runs = run_table({("dfn-26", m): [v - 0.01, v + 0.01] for m, v in cells.items()})
    assert order_lines(other, runs)[0].endswith("nothing published at this depth")


def test_the_distance_from_the_papers_setting_is_said():
    assert distance_lines(ReproduceSettings(experiment="table1"), {"cifar100": 100}) == [
        "Setting: the paper's own."
    ]
    settings = small(train_limit=1000, precision="tf32")
    lines = distance_lines(settings, {"digits": 10})
    for text in (
        "not the paper's",
        "2 epochs (the paper: 400)",
        "2 seeds (5)",
        "precision tf32 (fp32)",
        "width 2 (16)",
        "1,000 training images (50,000)",
        "data digits (cifar100)",
        "depths 5, 8 (38, 62, 84)",
    ):
        assert text in lines[0]
    assert "digits has 10 classes, the published figures are for 100" in lines[1]
    assert "early trainability" in lines[2]
    assert len(lines) == 3
    both = ReproduceSettings(experiment="table2", data="digits", epochs=400)
    assert not any("classes" in line for line in distance_lines(both, {"digits": 10}))
    assert any("37 classes" in line for line in distance_lines(both, {"digits": 37}))
