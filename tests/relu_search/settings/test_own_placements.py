"""Placements of the user: from a file, from a table of trials, from Python."""

from __future__ import annotations

import pytest

from relu_search import SearchConfig
from search_spaces import InputError, Placement

SITE = {"backbone": "plain-8", "granularity": "site"}
FILE = """
# what I think of
01*3                      # the module 2:1
0+1*5    the first one
1*4+00   the last two     # named
3:1/nothing-behind-it
"""


def config(text, tmp_path, **options):
    file = tmp_path / "mine.txt"
    file.write_text(text)
    return SearchConfig(**{**SITE, "own": str(file), **options}).resolve()


def test_a_file_has_a_placement_or_module_in_each_line_and_maybe_a_name(tmp_path):
    found = config(FILE.replace("3:1/nothing-behind-it", "0*5+1"), tmp_path)
    assert found.own == {
        "2:1": "01*3",
        "the first one": "0+1*5",
        "the last two": "1*4+00",
        "0*5+1": "0*5+1",
    }
    assert found.name_of(Placement.parse("011111")) == "the first one"
    assert found.name_of(Placement.parse("010101")) == "2:1"
    assert found.name_of(Placement.parse("001111")) == ""


def test_the_placements_stay_with_the_run_without_the_file(tmp_path):
    found = config("0+1*5 mine", tmp_path)
    (tmp_path / "mine.txt").unlink()
    again = SearchConfig.from_options(found.to_toml()).resolve()
    assert again.own_placements == {"mine": Placement.parse("0+1*5")}
    assert "own" not in SearchConfig(**SITE).resolve().to_toml()


def test_the_placements_of_a_table_of_trials_are_taken_once_each(tmp_path):
    table = "trial,state,module,placement\n0,COMPLETE,paired,1*6\n1,PRUNED,,0+1*5\n2,FAIL,,0+1*5\n"
    assert config(table, tmp_path).own == {"paired": "1*6", "0+1*5": "0+1*5"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("01*3\n01*4", r"mine.txt, line 2: placement '01\*4' has 8 sites but plain-8 has 6"),
        ("no-such", r"mine.txt, line 1: .*no-such"),
        ("# nothing", r"has no placement; write one in each line"),
        ("01*3\n010101", r"line 2: 2:1 comes twice"),
        ("0+1*5 a\n1*5+0 a", r"line 2: a comes twice"),
        ("01*3 mine", r"mine \(01\*3\) and the module 2:1 differ in name or in placement"),
        ("0+1*5 paired", r"paired \(0\+1\*5\) and the module paired differ"),
        ("0+1*5 a,b", r"name 'a,b' cannot be used; .* without a comma"),
        ("0+1*5 trial 3", r"name 'trial 3' cannot be used"),
        (f"0+1*5 {'x' * 61}", r"cannot be used; write at most 60"),
        ("0+1*5 a\x07", r"cannot be used"),
        ("trial,state\n0,COMPLETE\n", r"mine.txt: "),
    ],
)
def test_other_files_are_refused_with_the_line(text, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        config(text, tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"own": "no/such"}, r"^try no/such cannot be read: No such file"),
        ({"own": {}}, r"has no placement"),
        ({"own": {"a": 3}}, r"^own is .*; it must be a text or a table of texts or left out"),
        (
            {"own": {"a": "0+1*11"}, "backbone": "plain-14", "granularity": "stage"},
            r"cannot be written at granularity stage",
        ),
        (
            {"own": {"a": "0+1*5@drop-norm"}},
            r"cannot be written at granularity site with norm keep",
        ),
        ({"protect": True}, r"^protect is for the placements of --try"),
    ],
    ids=str,
)
def test_other_values_are_refused(options, reason):
    with pytest.raises(InputError, match=reason):
        SearchConfig(**{**SITE, **options})
