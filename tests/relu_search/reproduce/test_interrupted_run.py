"""A reproduction that ends within a training continues after its last epoch."""

from __future__ import annotations

import pytest
from helpers.cut_off import CutOff, Watch, table
from helpers.judging import HERE

from relu_search import RunFolder
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.run_experiment import reproduce
from search_spaces import InputError


@pytest.fixture
def settings():
    return ReproduceSettings(
        experiment="table1", data="digits", depths=(8,), seeds=2, epochs=3, width=2, train_limit=60
    )


def test_a_reproduction_goes_on_behind_its_last_epoch(settings, tmp_path):
    def run(name, runner):
        return reproduce(settings, out=str(tmp_path / name), compute=HERE, runner=runner)

    whole, trained = Watch(), 0
    assert run("whole", whole).is_complete
    for end_after in (2, 3, 1):
        cut = Watch(end_after)
        with pytest.raises(CutOff):
            run("cut", cut)
        trained += cut.trained
    last = Watch()
    assert run("cut", last).is_complete
    assert trained + last.trained == whole.trained == 2 * 2 * 3
    for name in ("runs.csv", "curves.csv"):
        assert table(tmp_path / "cut" / name) == table(tmp_path / "whole" / name)


def test_a_reproduction_cut_off_before_its_tables_were_made_begins(settings, tmp_path):
    out = tmp_path / "cut"
    done = reproduce(settings, out=str(out), compute=HERE)
    for name in ("runs.csv", "curves.csv"):
        (out / name).unlink()
    assert reproduce(settings, out=str(out), compute=HERE) == done


def test_a_reproduction_has_one_owner_at_a_time(settings, tmp_path):
    out = tmp_path / "out"
    reproduce(settings, out=str(out), compute=HERE)
    with RunFolder(out).lock(), pytest.raises(InputError, match="another process"):
        reproduce(settings, out=str(out), compute=HERE)
