"""A confirmation or a reproduction that was cut off within a training goes on, and ends alike."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from helpers.killing import Run, lines, running

from relu_search import RunFolder, confirm
from relu_search.reproduce.experiments import Settings
from relu_search.reproduce.run_experiment import reproduce
from relu_search.search.machines import Compute
from search_spaces import InputError
from trials.files.durable import StorageError
from trials.running.faults import RunStoppedError
from trials.running.trial import run_trial

IN_PROCESS = Compute(in_process=True)


class CutOff(BaseException):
    """The process ends here."""


class Watch:
    """Trains for real, counts the trained epochs, and ends the process after one of them."""

    def __init__(self, end_after=None):
        self.end_after = end_after
        self.trained = 0

    def __call__(self, spec, data, *, checkpoint, on_epoch, **options):
        known = len(checkpoint._read()[1]) if checkpoint.path.exists() else 0

        def heard(metrics):
            if metrics.epoch > known:  # those of the checkpoint are only reported again
                self.trained += 1
                if self.trained == self.end_after:
                    raise CutOff
            on_epoch(metrics)

        return run_trial(spec, data, checkpoint=checkpoint, on_epoch=heard, **options)


def table(path):
    """The rows of a table in any order, wall times aside."""
    rows = pd.read_csv(path).drop(columns="seconds", errors="ignore").to_dict("records")
    return sorted(map(str, rows))


@pytest.fixture
def folder(searched, tmp_path):
    shutil.copytree(searched.run.path, tmp_path / "run")
    return tmp_path / "run"


def confirmed(folder, runner):
    return confirm(
        folder, top=1, modules=["2:1"], seeds=2, racing=False, compute=IN_PROCESS, runner=runner
    )


def test_a_confirmation_goes_on_behind_its_last_epoch(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "whole")
    whole = Watch()
    verdicts = confirmed(tmp_path / "whole", whole).verdicts
    trained = 0
    for end_after in (1, 4, 2, 3):
        cut = Watch(end_after)
        with pytest.raises(CutOff):
            confirmed(folder, cut)
        trained += cut.trained
    last = Watch()
    assert confirmed(folder, last).verdicts == verdicts
    assert trained + last.trained == whole.trained == 3 * 2 * 3
    for name in ("confirm.csv", "confirm_epochs.csv"):
        assert table(folder / name) == table(tmp_path / "whole" / name)
    assert list((folder / "confirm" / "checkpoints").iterdir()) == []


def test_curves_of_a_training_without_its_row_are_dropped(folder):
    """Curves come first, then the row: a crash in between leaves curves alone."""
    verdicts = confirmed(folder, Watch()).verdicts
    runs, curves = folder / "confirm.csv", table(folder / "confirm_epochs.csv")
    kept = runs.read_text().splitlines(keepends=True)[:-1]
    runs.write_text("".join(kept))
    assert confirmed(folder, Watch()).verdicts == verdicts
    assert table(folder / "confirm_epochs.csv") == curves


@pytest.fixture
def settings():
    return Settings(
        study="table1", data="digits", depths=(8,), seeds=2, epochs=3, width=2, train_limit=60
    )


def test_a_reproduction_goes_on_behind_its_last_epoch(settings, tmp_path):
    def run(name, runner):
        return reproduce(settings, out=str(tmp_path / name), compute=IN_PROCESS, runner=runner)

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
    done = reproduce(settings, out=str(out), compute=IN_PROCESS)
    for name in ("runs.csv", "curves.csv"):
        (out / name).unlink()
    assert reproduce(settings, out=str(out), compute=IN_PROCESS) == done


def test_a_reproduction_has_one_owner_at_a_time(settings, tmp_path):
    out = tmp_path / "out"
    reproduce(settings, out=str(out), compute=IN_PROCESS)
    with RunFolder(out).lock(), pytest.raises(InputError, match="another process"):
        reproduce(settings, out=str(out), compute=IN_PROCESS)


def test_a_full_disk_ends_a_confirmation_and_costs_nothing(folder):
    def full(spec, data, **options):
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        confirmed(folder, full)
    assert lines(folder / "confirm.csv") == 1
    assert not confirmed(folder, Watch()).failed


def test_all_trainings_failing_alike_end_a_confirmation(folder):
    class Failed:
        failure = "no such data on this node"

    with pytest.raises(RunStoppedError, match="3 trials in a row"):
        confirmed(folder, lambda *_, **__: Failed)
    assert not confirmed(folder, Watch()).failed


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
