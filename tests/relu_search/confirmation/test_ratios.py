"""`confirm --ratios`: the best placement of each ratio, on the made-up search."""

from __future__ import annotations

import pytest
from helpers.confirming import confirmed, refuse
from helpers.judging import Runner, files_under, make_search

from search_spaces import InputError, Placement

SIX = ["1*6", "0+1*5", "00+1*4", "000111", "0*4+11", "0*5+1"]


@pytest.fixture
def folder(tmp_path):
    """The best placement with 6, 5, 4, 3, 2 and 1 ReLUs, a worse one with 5, and 2:1."""
    trials = [("COMPLETE", "paired" if t == "1*6" else "", t, 0.5) for t in SIX]
    trials += [("COMPLETE", "", "1*5+0", 0.4), ("COMPLETE", "2:1", "01*3", 0.45)]
    run = make_search(tmp_path / "run", trials=trials)
    table = run / "trials.csv"  # whose ReLUs are made up
    lines = table.read_text().splitlines()
    head = lines[0].split(",")
    rows = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:]]
    for row in rows:
        kept = Placement.parse(row["placement"]).kept
        row |= {"relus": str(kept), "ratio": f"6:{kept}"}
    table.write_text("\n".join([lines[0], *(",".join(row.values()) for row in rows)]) + "\n")
    return run


@pytest.mark.parametrize(
    ("count", "compared"),
    [
        (2, ["1*6", "0*5+1"]),
        (3, ["1*6", "00+1*4", "0*5+1"]),
        (6, SIX),
        (9, SIX),
    ],
)
def test_the_ratios_are_spread_over_those_that_were_tried(count, compared, folder):
    runner = Runner()
    done = confirmed(folder, runner, ratios=count, modules=[])
    trained = dict.fromkeys(text for text, _ in runner.calls)
    assert set(trained) == {"1*6", *compared}
    assert len(done.curve.points) == len(compared)
    assert all(point.n == 2 for point in done.curve.points)


def test_a_module_that_is_the_best_of_its_ratio_is_its_arm(folder):
    table = folder / "trials.csv"
    table.write_text(table.read_text().replace(",0.45,", ",0.9,"))
    done = confirmed(folder, Runner(), ratios=6)
    arms = {row["arm"] for row in done.verdicts}
    assert "2:1" in arms
    assert "trial 3" not in arms  # 000111, with as many ReLUs
    assert [point.ratio for point in done.curve.points] == [
        "1:1",
        "6:5",
        "3:2",
        "2:1",
        "3:1",
        "6:1",
    ]


def test_without_the_option_there_is_no_curve(folder):
    assert confirmed(folder, Runner()).curve is None


def test_a_number_below_two_or_a_search_of_one_ratio_is_refused(folder, tmp_path):
    before = files_under(folder)
    with pytest.raises(InputError, match=r"^ratios is 1; it must be at least 2"):
        confirmed(folder, refuse, ratios=1)
    assert files_under(folder) == before
    one = make_search(tmp_path / "one", trials=[("COMPLETE", "paired", "1*6", 0.5)])
    with pytest.raises(InputError, match=r"has tried 1 ratio to full length"):
        confirmed(one, refuse, ratios=3)
