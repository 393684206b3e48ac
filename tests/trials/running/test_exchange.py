"""Files of trials on nodes that do not see the run folder: they travel through a URL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from safetensors.torch import load_file

from search_spaces import InputError
from trials.data.splits import load_data
from trials.files.durable import StorageError
from trials.running.exchange import Exchange, check_exchange, forget, take_over, worker_files
from trials.running.trial import run_trial
from trials.running.trial_files import TrialFiles
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

SPEC = TrialSpec(
    backbone="plain-5", width=2, placement="010", recipe=Recipe(epochs=3, batch_size=32)
)


class NodeLost(Exception):
    """The node and its disk are gone."""


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=64, validation_images=20)


@pytest.fixture(params=["memory", "folder"])
def url(request, tmp_path):
    if request.param == "memory":
        yield f"memory://{tmp_path}/run"
    else:
        yield f"{tmp_path}/exchange/run"


@pytest.fixture
def files(url, tmp_path):
    """The driver's: folders that the workers of this test never see."""
    made = TrialFiles(weights=tmp_path / "weights", checkpoints=tmp_path / "checkpoints")
    made.make_folders()
    base, name = url.rsplit("/", maxsplit=1)
    return made.through(f"{base}/", name)


def names(url):
    system, folder = fsspec.core.url_to_fs(url)
    return sorted(Path(path).name for path in system.ls(folder, detail=False))


def train_on_a_node(files, data, *, lost_after=None):
    """What a worker does; the figures it reports."""
    reported = []
    with worker_files(files, 7, SPEC, data) as mine:

        def report(metrics):
            mine.publish()
            reported.append((metrics.epoch, metrics.val_loss))
            if metrics.epoch == lost_after:
                raise NodeLost

        run_trial(SPEC, data, save_to=mine.weights, checkpoint=mine.checkpoint, on_epoch=report)
    return reported


def test_a_trial_goes_on_another_node_and_its_weights_reach_the_run(files, url, data, tmp_path):
    with pytest.raises(NodeLost):
        train_on_a_node(files, data, lost_after=2)
    assert list((tmp_path / "weights").iterdir()) == []
    assert len(names(url)) == 1
    reported = train_on_a_node(files, data)
    whole = run_trial(SPEC, data)
    assert reported == [(m.epoch, m.val_loss) for m in whole.epochs]
    take_over(files, 7)
    forget(files, SPEC, data.name)
    assert names(url) == []
    weights = load_file(tmp_path / "weights" / "trial-0007.safetensors")
    assert all((weights[n] == value).all() for n, value in whole.model.state_dict().items())


def test_without_an_exchange_workers_write_into_the_run(data, tmp_path):
    files = TrialFiles(weights=tmp_path / "weights", checkpoints=tmp_path / "checkpoints")
    files.make_folders()
    train_on_a_node(files.through(None, "run"), data)
    assert (tmp_path / "weights" / "trial-0007.safetensors").is_file()
    assert files.checkpoint_of(SPEC, data).path.is_file()


def test_a_trial_without_weights_is_no_fault(files, url):
    Exchange(url).push(Path(__file__))
    take_over(files, 7)
    forget(files, SPEC, "digits")
    assert names(url) == [Path(__file__).name]


def test_an_exchange_is_tried_before_any_work_is_done(url):
    check_exchange(None)
    check_exchange(url)
    assert names(url) == []


@pytest.mark.parametrize("bad", ["nosuch://bucket/x", "/proc/relu-search/x"])
def test_an_exchange_that_cannot_be_used_is_one_clear_line(bad):
    with pytest.raises(InputError, match=r"exchange .* cannot be used") as caught:
        check_exchange(bad)
    assert "\n" not in str(caught.value)


def test_an_exchange_that_goes_away_ends_the_training(files, url, data):
    with worker_files(files, 1, SPEC, data) as mine:
        gone = replace(mine, exchange=Exchange("/proc/relu-search/x"))
        with pytest.raises(StorageError, match="cannot be reached"):
            run_trial(SPEC, data, checkpoint=mine.checkpoint, on_epoch=lambda _: gone.publish())


def test_a_folder_is_the_same_for_workers_that_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TrialFiles().through("shared/runs", "a").exchange == f"{tmp_path}/shared/runs/a"
    assert TrialFiles().through("s3://bucket/runs/", "a").exchange == "s3://bucket/runs/a"
    assert TrialFiles().through(None, "a").exchange is None


@pytest.mark.parametrize(
    "url", ["", " ", "file://", "local://", "simplecache::", "simplecache::file://"]
)
def test_an_exchange_without_a_folder_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="names no folder"):
        check_exchange(url)
    assert list(tmp_path.iterdir()) == []
