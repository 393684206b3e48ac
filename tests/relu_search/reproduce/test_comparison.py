"""What a comparison writes: the table and the figures."""

from __future__ import annotations

import struct

import pytest
from helpers.judging import Runner, read_rows
from helpers.reproducing import level, reproduced, small
from PIL import Image

from relu_search.reproduce.comparison import write_comparison
from relu_search.reproduce.run_experiment import Reproduction


@pytest.mark.parametrize(
    ("settings", "figures"),
    [
        (small(seeds=3), {"curves", "differences"}),
        (small("figure7", depths=(11,), seeds=3), {"curves", "differences"}),
        (small("claims", depths=(11,), seeds=2), {"curves", "single-relus"}),
    ],
    ids=lambda value: getattr(value, "experiment", ""),
)
def test_findings_are_written_as_a_table_and_as_figures(settings, figures, tmp_path):
    folder = tmp_path / "new"
    done = reproduced(settings, folder, Runner(accuracy=level))
    comparison = write_comparison(settings, done)
    assert {p.stem for p in comparison.figures} == figures
    assert {p.suffix for p in comparison.figures} == {".png", ".pdf"}
    for path in comparison.figures:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert min(image.size) > 200
                assert len(image.convert("RGB").getcolors(10**7)) > 10  # something is drawn
        else:
            assert struct.unpack("5s", path.read_bytes()[:5])[0] == b"%PDF-"
    table = read_rows(folder / "comparison.csv")
    assert len(table) == len(comparison.rows)
    for row, found in zip(table, comparison.rows, strict=True):
        assert (row["module"], int(row["n"])) == (found.module, settings.seeds)
        assert float(row["mean"]) == pytest.approx(found.ours.mean)
        assert (row["published_mean"] == "") == (found.published is None)
        assert (row["difference"] == "") == (found.module == "paired")


def test_findings_of_an_interrupted_reproduction_say_what_there_is(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(KeyboardInterrupt):
        reproduced(small(), folder, Runner(stop_after=1))
    done = Reproduction(folder=folder, is_complete=False, num_classes={"digits": 10})
    comparison = write_comparison(small(), done)
    assert comparison.rows == []
    assert [p.name for p in comparison.figures] == ["curves.png", "curves.pdf"]
