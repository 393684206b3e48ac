"""A confirmation that ends within a training continues after its last epoch, with equal results."""

from __future__ import annotations

import shutil

import pytest
from helpers.cut_off import CutOff, Watch, table
from helpers.judging import HERE
from helpers.killing import Run, lines, running

from relu_search import confirm
from trials.files.durable import StorageError
from trials.running.faults import RunStoppedError


@pytest.fixture
def searched_folder(searched, tmp_path):
    shutil.copytree(searched.run.path, tmp_path / "run")
    return tmp_path / "run"


def confirmed_for_real(folder, runner):
    return confirm(
        folder, top=1, modules=["2:1"], seeds=2, racing=False, compute=HERE, runner=runner
    )


def test_a_confirmation_goes_on_behind_its_last_epoch(searched_folder, tmp_path):
    shutil.copytree(searched_folder, tmp_path / "whole")
    whole = Watch()
    verdicts = confirmed_for_real(tmp_path / "whole", whole).verdicts
    trained = 0
    for end_after in (1, 4, 2, 3):
        cut = Watch(end_after)
        with pytest.raises(CutOff):
            confirmed_for_real(searched_folder, cut)
        trained += cut.trained
    last = Watch()
    assert confirmed_for_real(searched_folder, last).verdicts == verdicts
    assert trained + last.trained == whole.trained == 3 * 2 * 3
    for name in ("confirm.csv", "confirm_epochs.csv"):
        assert table(searched_folder / name) == table(tmp_path / "whole" / name)
    assert list((searched_folder / "confirm" / "checkpoints").iterdir()) == []


def test_curves_of_a_training_without_its_row_are_dropped(searched_folder):
    """Curves come first, then the row: a crash in between leaves curves alone."""
    verdicts = confirmed_for_real(searched_folder, Watch()).verdicts
    runs, curves = searched_folder / "confirm.csv", table(searched_folder / "confirm_epochs.csv")
    kept = runs.read_text().splitlines(keepends=True)[:-1]
    runs.write_text("".join(kept))
    assert confirmed_for_real(searched_folder, Watch()).verdicts == verdicts
    assert table(searched_folder / "confirm_epochs.csv") == curves


def test_a_full_disk_ends_a_confirmation_and_costs_nothing(searched_folder):
    def full(spec, data, **options):
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        confirmed_for_real(searched_folder, full)
    assert lines(searched_folder / "confirm.csv") == 1
    assert not confirmed_for_real(searched_folder, Watch()).failed


def test_all_trainings_failing_alike_end_a_confirmation(searched_folder):
    class Failed:
        failure = "no such data on this node"

    with pytest.raises(RunStoppedError, match="3 trials in a row"):
        confirmed_for_real(searched_folder, lambda *_, **__: Failed)
    assert not confirmed_for_real(searched_folder, Watch()).failed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_confirmation_over_ray_that_is_killed_ends_alike(searched, tmp_path):
    for name in ("cut", "whole"):
        shutil.copytree(searched.run.path, tmp_path / name)
    options = ("--top", "1", "--modules", "2:1", "--seeds", "3", "--epochs", "12", "--no-racing")
    code, text = Run("confirm", tmp_path / "whole", *options).finish()
    assert code == 0, text
    runs = tmp_path / "cut" / "confirm.csv"
    for done in (2, 3, 5):
        with running("confirm", tmp_path / "cut", *options) as run:
            assert run.wait_for(lambda done=done: lines(runs) > done), run.finish()
            run.kill()
    code, text = Run("confirm", tmp_path / "cut", *options).finish()
    assert code == 0, text
    for name in ("confirm.csv", "confirm_epochs.csv"):
        assert table(tmp_path / "cut" / name) == table(tmp_path / "whole" / name)
    assert (tmp_path / "cut" / "verdict.csv").read_bytes() == (
        tmp_path / "whole" / "verdict.csv"
    ).read_bytes()
