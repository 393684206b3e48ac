"""A recipe of one's own: by option, by file, by table and from Python."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relu_search import RunFolder, SearchConfig
from relu_search.settings.option_files import changed_recipe
from search_spaces import InputError
from trials import Recipe

OWN = Recipe(
    name="mine",
    epochs=7,
    batch_size=16,
    learning_rate=0.002,
    schedule="cosine",
    optimizer="adamw",
    weight_decay=0.05,
    warm_up=0.1,
    label_smoothing=0.1,
    clip_norm=1.0,
    spare_norms=True,
)
FILE = """
epochs = 7
batch-size = 16
learning_rate = 0.002
schedule = "cosine"
optimizer = "adamw"
weight-decay = 0.05
warm-up = 0.1
label_smoothing = 0.1
clip_norm = 1.0
spare-norms = true
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    return path


def test_file_table_python_and_options_give_the_same_recipe(recipe_file, tmp_path):
    table = tmp_path / "search.toml"
    table.write_text(f"[recipe]\nname = 'mine'\n{FILE}")
    names = (
        *("epochs", "batch_size", "learning_rate", "schedule", "optimizer", "warm_up"),
        *("weight_decay", "label_smoothing", "clip_norm", "spare_norms"),
    )
    options = {name: getattr(OWN, name) for name in names}
    ways = [
        SearchConfig.from_options({"recipe": str(recipe_file)}),
        SearchConfig.from_options({}, table),
        SearchConfig(recipe=OWN),
        SearchConfig(**options),
    ]
    recipes = [way.resolve().training_recipe for way in ways]
    assert recipes[:3] == [OWN] * 3
    assert recipes[3] == replace(OWN, name="custom")
    assert ways[0].resolve().trial_spec(ways[0].resolve().references["2:1"]).recipe == OWN


def test_options_change_single_values_of_a_recipe(recipe_file):
    config = SearchConfig(recipe=str(recipe_file), learning_rate=0.01, milestones="0.2,0.9")
    expected = replace(OWN, name="custom", learning_rate=0.01, milestones=(0.2, 0.9))
    assert config.resolve().training_recipe == expected
    fewer = SearchConfig(recipe=OWN, epochs=2, precision="bf16").resolve().training_recipe
    assert fewer == replace(OWN, epochs=2, precision="bf16")


def test_a_run_does_not_need_the_file_again(recipe_file, tmp_path):
    config = SearchConfig(recipe=str(recipe_file)).resolve()
    run = RunFolder(tmp_path)
    record = {
        "study": "x",
        "data": {
            "name": "digits",
            "classes": ["a", "b"],
            "in_channels": 1,
            "image_size": [8, 8],
            "mean": [1.0],
            "std": [1.0],
            "split_digest": "x",
            "train_images": 9,
            "validation_images": 9,
        },
    }
    run.write_config(config, record)
    recipe_file.unlink()
    assert run.read_config()[0] == config


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"recipe": "shorter"}, "use a file FILE.toml, or one of paper, short"),
        ({"recipe": "nowhere.toml"}, "cannot be read"),
        ({"recipe": 3}, "recipe is 3; it must be a text or a Recipe"),
        ({"learning_rate": 0.0}, "learning rate is 0.0; it must be 0 to 100"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be a number"),
        ({"batch_size": 1}, "batch size is 1; it must be 2 to 65536"),
        ({"schedule": "linear"}, "it must be one of step, one-cycle, cosine, constant"),
        ({"milestones": "a"}, "milestones is 'a'; write shares of the training"),
        ({"milestones": "0.9,0.5"}, "it must be rising shares"),
        ({"warm_up": 1.0}, "warm up is 1.0"),
        ({"optimizer": "lion"}, "it must be one of sgd, adamw"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1.0}, "weight decay is -1.0"),
        ({"label_smoothing": 1.0}, "label smoothing is 1.0"),
        ({"clip_norm": 0.0}, "clip norm is 0.0; it must be above 0"),
        ({"weights": "w.pt", "pack": 4}, "because packs train from scratch"),
        ({"weights": "w.pt", "pack": "auto"}, "pack and weights exclude each other"),
        ({"weights": "w.pt", "warm_start": "supernet"}, "a supernet is trained from scratch"),
        ({"weights": "w.pt", "activation": "crelu"}, "activation crelu and weights exclude"),
        ({"weights": "w.pt", "distill": 0.5, "new_head": True}, "the teacher would have no head"),
        ({"weights": "w.pt", "distill": 0.5, "compiled": True}, "distill and compiled"),
        ({"weights": "w.pt", "distill": 0.5, "captured": True}, "distill and captured"),
        ({"weights": "w.pt", "distill": 0.0}, "distill is 0.0; it must be above 0"),
        ({"weights": "w.pt", "distill": 1.5}, "distill is 1.5; it must be at most 1"),
        ({"weights": "w.pt", "distill_temperature": 2.0}, "give --distill, such as 0.5"),
        (
            {"weights": "w.pt", "distill": 0.5, "distill_temperature": 0.0},
            "distill temperature is 0.0; it must be at least 0.01",
        ),
        ({"distill": 0.5}, "distill is for trainings that start from weights"),
        ({"distill_temperature": 2.0}, "leave --distill-temperature out"),
        ({"new_head": True}, "give --weights, or leave --new-head out"),
        ({"weights": 3}, "weights is 3; it must be a text or left out"),
        ({"optimizer": "adamw", "pack": 4}, "packs cannot train with optimizer adamw"),
        ({"clip_norm": 1.0, "pack": "auto"}, "packs cannot train with a clip norm"),
    ],
)
def test_a_bad_value_is_one_line_with_its_rule(options, rule):
    with pytest.raises(InputError) as caught:
        SearchConfig(**options)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("batch_size = 16", "epochs is missing"),
        ("epochs = 5\nspeed = 3", "unknown key 'speed'"),
        ("epochs = 0", "epochs is 0; it must be 1 to 100000"),
        ("epochs = 'five'", "epochs is 'five'; it must be a whole number"),
        ("epochs = ", "not valid TOML"),
    ],
)
def test_a_bad_recipe_file_is_named(content, rule, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.toml") as caught:
        SearchConfig(recipe=str(path))
    assert rule in str(caught.value)


def test_weights_bring_the_recipe_for_them():
    finetune = SearchConfig(weights="w.pt").resolve().training_recipe
    assert finetune == Recipe.named("finetune")
    assert (finetune.learning_rate, finetune.schedule) == (0.01, "cosine")
    assert SearchConfig(weights="w.pt", recipe="short").resolve().recipe == Recipe.named("short")
    assert SearchConfig().resolve().recipe == Recipe.named("short")
    shorter = SearchConfig(weights="w.pt", epochs=2).resolve().training_recipe
    assert shorter == Recipe.named("finetune", 2)


def test_a_known_recipe_keeps_its_name():
    assert changed_recipe("paper", {"epochs": 9}).name == "paper"
    assert changed_recipe("paper", {"epochs": 9, "batch_size": 64}).name == "paper"
    assert changed_recipe("paper", {"batch_size": 65}).name == "custom"
