"""Searches, trainings and runs of networks beyond the six families."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import odd_networks

from relu_search import SearchConfig, confirm, resume_search, run_search
from relu_search.export.from_run import export_from
from relu_search.report.run_report import write_report
from relu_search.run_folder.folder import RunFolder
from relu_search.search.resuming import changed_config
from relu_search.search.single_training import train_single
from search_spaces import FunctionBackbone, InputError
from trials import TrialSpec, load_data, run_trial
from trials.training.recipe import Recipe

FILE = odd_networks.__file__
EXAMPLE = Path(__file__).parents[3] / "examples" / "own_network" / "my_models.py"
SMALL = {"epochs": 1, "train_limit": 60, "validation_images": 50}
RECORD = {
    "study": "s",
    "data": {
        "name": "digits",
        "classes": list("0123456789"),
        "in_channels": 1,
        "image_size": [8, 8],
        "mean": [1.0],
        "std": [1.0],
        "split_digest": "d",
        "train_images": 1,
        "validation_images": 1,
    },
}


def test_a_function_is_an_option_and_its_name_is_kept():
    config = SearchConfig(backbone=odd_networks.shared_relu, trials=4).resolve()
    assert config.backbone == "helpers.odd_networks:shared_relu"
    assert config.width is None
    assert config.search_space().size == 3


def test_options_of_a_function_and_of_a_family_do_not_mix():
    with pytest.raises(InputError, match="width 8 is for the six families"):
        SearchConfig(backbone="torchvision:resnet18", width=8)
    with pytest.raises(InputError, match="exclude is for a network of your own"):
        SearchConfig(backbone="plain-8", exclude="x")
    with pytest.raises(InputError, match="pack is for the six families"):
        SearchConfig(backbone="torchvision:resnet18", pack=4)
    with pytest.raises(InputError, match="keeps its norms"):
        SearchConfig(backbone="torchvision:resnet18", norm="drop")


def test_training_one_placement_proves_the_network_and_writes_a_card(tmp_path):
    config = SearchConfig(backbone=f"{EXAMPLE}:make_model", out=str(tmp_path / "out"), **SMALL)
    row = train_single(config, "2:1/second")
    assert row["relus"] == 6
    assert row["failure"] is None
    grey = '{"in_channels": 1}'
    refused = SearchConfig(backbone=odd_networks.MoreInTraining, backbone_args=grey, **SMALL)
    with pytest.raises(InputError, match="is called 2 times in training"):
        train_single(refused, "paired")


@pytest.mark.parametrize("name", ["TwoHeads", "NeverCalled", "Functional"])
def test_heads_that_are_not_used_and_frozen_weights_are_no_obstacle(name):
    data = load_data("digits", train_limit=60, validation_images=50)
    recipe = Recipe.named("short", 1)
    made = FunctionBackbone(getattr(odd_networks, name), arguments={"in_channels": 1})
    spec = TrialSpec(backbone=made, placement="paired", recipe=recipe)
    result = run_trial(TrialSpec.from_json(spec.to_json()), data)
    assert result.failure is None
    assert len(result.epochs) == 1


@pytest.mark.slow  # torch.compile
def test_a_compiled_trial_learns_as_an_ordinary_one():
    data = load_data("digits", train_limit=64, validation_images=50)
    recipe = replace(Recipe.named("short", 1), batch_size=32)
    losses = {}
    for compiled in (False, True):
        for text in ("2:1/first", "2:1/second"):
            spec = TrialSpec(backbone=odd_networks.shared_relu, placement=text, recipe=recipe)
            epoch = run_trial(spec, data, compiled=compiled).epochs[0]
            losses[compiled, text] = epoch.train_loss
    for text in ("2:1/first", "2:1/second"):  # the second one by the graph of the first
        assert losses[True, text] == pytest.approx(losses[False, text], rel=1e-4)
    assert losses[False, "2:1/first"] != losses[False, "2:1/second"]


@pytest.fixture
def trap(tmp_path):
    """A file with a network that leaves a trace when it is imported."""
    file = tmp_path / "trap.py"
    file.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'trace')!r}).touch()\n"
        "from helpers.odd_networks import shared_relu\n"
    )
    return file


def forget(trap: Path) -> Path:
    """Undo the import of the trap; the path of its trace."""
    for name in [name for name in sys.modules if name.startswith("relu_search_own_")]:
        del sys.modules[name]
    trace = trap.with_name("trace")
    trace.unlink()
    return trace


def test_a_run_folder_is_read_without_its_code(trap, tmp_path):
    config = SearchConfig(backbone=f"{trap}:shared_relu", trials=4, data="digits").resolve()
    folder = tmp_path / "run"
    folder.mkdir()
    run = RunFolder(folder)
    run.write_config(config, RECORD)
    trace = forget(trap)
    read = run.read_config()[0]
    assert read.network.sites == config.network.sites
    assert read.references == config.references
    for use in (
        lambda: changed_config(run, {"trials": 9}),
        lambda: SearchConfig.from_options({}, folder / "config.toml"),
        lambda: resume_search(folder),
    ):
        with pytest.raises(InputError, match="only if you name it on the command line"):
            use()
    assert not trace.exists()
    named = changed_config(run, {"trials": 9, "backbone": f"{trap}:shared_relu"})
    named.network.require_runnable()
    with pytest.raises(InputError, match=r"--sites relu \(it has relu,relu6\) contradicts"):
        changed_config(run, {"backbone": f"{trap}:shared_relu", "sites": "relu"})


def test_a_record_of_another_network_is_refused(trap, tmp_path):
    config = SearchConfig(backbone=f"{trap}:shared_relu", trials=4).resolve()
    run = RunFolder(tmp_path)
    run.write_config(config, RECORD)
    file = tmp_path / "config.toml"
    file.write_text(file.read_text().replace(f"{trap}:shared_relu", "torchvision:resnet18", 1))
    with pytest.raises(InputError, match="are of different networks"):
        run.read_config()


@pytest.mark.slow
def test_a_network_in_a_file_goes_the_whole_way(tmp_path):
    options = {**SMALL, "trials": 5, "granularity": "block", "data": "digits"}
    example = Path(__file__).parents[3] / "examples" / "own_network" / "my_models.py"
    file = tmp_path / "my_models.py"  # workers import it, without the folder of the tests
    file.write_bytes(example.read_bytes())
    name = f"{file}:make_model"
    outcome = run_search(
        SearchConfig(backbone=name, out=str(tmp_path / "run"), cpus_per_trial=1, **options)
    )
    assert outcome.best_trial is not None
    more = resume_search(outcome.run.path, trials=6, backbone=name)
    assert len(more.run.read_trials()) == 6
    done = confirm(outcome.run.path, top=1, seeds=2, backbone=name)
    assert done.verdicts
    card = export_from(str(outcome.run.path), str(tmp_path / "out"), ["onnx", "pt2"], backbone=name)
    assert card.is_file()
    file.unlink()  # a report needs no code
    assert write_report(outcome.run).is_file()
