"""Data that a program gives, and recipes of one's own: train, search, resume, confirm, export."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from relu_search import (
    RunFolder,
    SearchConfig,
    confirm,
    export_model,
    load_exported,
    resume_search,
    run_search,
)
from relu_search.cli.app import main
from relu_search.search.single_training import train_single
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials import Recipe, TrainingData, load_data
from trials.data.reading import image_arrays

RECIPE = Recipe(
    name="mine",
    epochs=2,
    batch_size=16,
    learning_rate=0.01,
    schedule="cosine",
    optimizer="adamw",
    label_smoothing=0.1,
    clip_norm=1.0,
)
SMALL = {"backbone": "plain-5", "width": 2, "recipe": RECIPE}


class Stripes(Dataset):
    """Horizontal and vertical stripes with noise."""

    classes = ("horizontal", "vertical")

    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        rng = np.random.default_rng((self.seed, place))
        lines = np.where(np.arange(8) % 2, 200, 50)[:, None] + rng.integers(0, 50, (8, 8))
        pixels = lines.astype(np.uint8)
        return (pixels.T if place % 2 else pixels), place % 2


@pytest.fixture(scope="module")
def data():
    return TrainingData.from_dataset(Stripes(60, 0), flip=False)


def test_one_training_takes_them_and_its_card_has_the_recipe(data, tmp_path):
    config = SearchConfig(**SMALL, data=data, out=str(tmp_path / "out"))
    row = train_single(config, "paired", device="cpu")
    assert row["epochs"] == 2
    training = load_card(tmp_path / "out")["training"]
    assert training["data"] == "python:Stripes"
    assert Recipe.from_json(training["recipe"]) == RECIPE


def load_card(folder):
    from relu_search.export.card import read_card

    return read_card(folder)


def test_a_run_whose_data_were_given_asks_for_them_again(data):
    config = SearchConfig(**SMALL, data=data).resolve()
    assert config.data == "python:Stripes"
    again = SearchConfig.from_options(config.to_toml()).resolve()
    assert again == config
    with pytest.raises(InputError, match=r"were given in Python; give them again there, with data"):
        again.load_data()
    assert config.load_data().split_digest == data.split_digest


def test_the_split_of_a_named_set_is_no_data_to_split_again():
    config = SearchConfig(data=load_data("digits", train_limit=40)).resolve()
    with pytest.raises(InputError, match="are the split of a named data set; give its name"):
        config.load_data()


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 8, 8)), Stripes(3, 0), 7], ids=["array", "set", "7"]
)
def test_data_of_a_wrong_type_are_named_by_their_type(wrong):
    with pytest.raises(InputError, match=r"^data is .*; it must be a text or a TrainingData$") as c:
        SearchConfig(data=wrong)
    assert len(str(c.value)) < 120


@pytest.mark.slow
def test_search_resume_confirm_and_export(data, tmp_path):
    config = SearchConfig(**SMALL, data=data, trials=3, concurrent=1, out=str(tmp_path / "run"))
    outcome = run_search(config)
    assert outcome.ending == "budget spent"
    with pytest.raises(InputError, match="give them again there"):
        resume_search(outcome.run.path, trials=4)
    others = TrainingData.from_dataset(Stripes(60, 5), flip=False, name="Stripes")
    with pytest.raises(InputError, match="are not those"):
        resume_search(outcome.run.path, trials=4, data=others)
    outcome = resume_search(outcome.run.path, trials=4, data=data)
    assert len(outcome.run.read_trials()) == 4
    written = tomllib.loads((outcome.run.path / "config.toml").read_text())
    assert written["recipe"]["optimizer"] == "adamw"
    here = Machines(in_process=True)
    how = {"top": 1, "modules": [], "seeds": 2, "compute": here}
    with pytest.raises(InputError, match="so must be their test split"):
        confirm(outcome.run.path, data=data, **how)
    done = confirm(outcome.run.path, data=data, test=Stripes(30, 1), **how)
    assert done.ending == "complete"
    assert RunFolder.open(outcome.run.path).table("confirm.csv").is_file()
    export_model(outcome.run.best, tmp_path / "best", ("safetensors",))
    assert load_exported(tmp_path / "best").num_classes == 2
    with pytest.raises(InputError, match="was confirmed with"):
        confirm(outcome.run.path, data=data, test=Stripes(30, 1), recipe="short", **how)


@pytest.mark.parametrize(
    "verb", [["search"], ["train"], ["reproduce", "table1", "--data", "digits"]]
)
@pytest.mark.parametrize(
    "flags",
    [
        ["--image-size", "0"],
        ["--image-size", "5000"],
        ["--augment", "mixup"],
        ["--recipe", "nowhere.toml"],
        ["--recipe", "best"],
        ["--learning-rate", "0"],
        ["--batch-size", "1"],
        ["--schedule", "linear"],
        ["--milestones", "0.9,0.1"],
        ["--warm-up", "1"],
        ["--momentum", "1"],
        ["--weight-decay", "-1"],
        ["--optimizer", "lion"],
        ["--label-smoothing", "1"],
        ["--clip-norm", "0"],
    ],
    ids=" ".join,
)
def test_a_bad_value_of_each_option_ends_with_one_line_and_code_2(
    verb, flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*verb, *flags])
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "must be" in lines[0] or "use" in lines[0] or "cannot be read" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_workers_map_the_cache_file_and_train_as_from_memory(tmp_path, monkeypatch):
    """The images are too large for the memory of this process; its workers get the file."""
    for place in range(40):
        pixels, label = Stripes(40, 0)[place]
        folder = tmp_path / "set" / "train" / Stripes.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    monkeypatch.setenv(image_arrays.CACHE_VARIABLE, str(tmp_path))
    options = {**SMALL, "data": f"folder:{tmp_path / 'set'}", "trials": 2, "concurrent": 1}
    losses = []
    for name, limit in (("mapped", 100), ("whole", 2**40)):
        monkeypatch.setattr(image_arrays, "memory_limit", lambda limit=limit: limit)
        run = run_search(SearchConfig(**options, out=str(tmp_path / name))).run
        losses.append(run.read_trials()["val_loss"].tolist())
    assert losses[0] == losses[1]
    assert not list(tmp_path.rglob("*.images"))
