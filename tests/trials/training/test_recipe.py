"""The recipe of the paper, its schedules, and the values it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from search_spaces import InputError
from trials import Recipe


def epoch_rates(recipe: Recipe) -> list[float]:
    """Learning rate at the first step of every epoch."""
    return [recipe.learning_rate_at(epoch / recipe.epochs) for epoch in range(recipe.epochs)]


def test_the_paper_recipe_is_the_papers():
    assert Recipe.named("paper") == Recipe(
        name="paper",
        epochs=400,
        batch_size=64,
        learning_rate=0.1,
        schedule="step",
        momentum=0.9,
        weight_decay=1e-4,
        precision="fp32",
    )


@pytest.mark.parametrize(("epochs", "milestones"), [(400, (200, 300, 350)), (8, (4, 6, 7))])
def test_steps_fall_at_a_half_three_quarters_and_seven_eighths(epochs, milestones):
    rates = epoch_rates(Recipe.named("paper", epochs))
    expected = [0.1 * 0.1 ** sum(epoch >= m for m in milestones) for epoch in range(epochs)]
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 97), (3, 4), (5, 24), (7, 1), (30, 97)])
def test_a_step_inside_an_epoch_falls_at_the_first_step_past_it(epochs, steps):
    recipe = Recipe(epochs=epochs, learning_rate=1.0)
    total = epochs * steps
    rates = [
        recipe.learning_rate_at((epoch + step / steps) / epochs)
        for epoch in range(epochs)
        for step in range(steps)
    ]
    drops = [sum(8 * k >= eighths * total for eighths in (4, 6, 7)) for k in range(total)]
    assert rates == pytest.approx([0.1**n for n in drops], rel=1e-12)


def test_one_cycle_is_a_triangle_with_its_peak_at_thirty_percent():
    recipe = Recipe(epochs=5, learning_rate=0.4, schedule="one-cycle")
    progress = np.linspace(0, 1, 1001)
    rates = [recipe.learning_rate_at(p) for p in progress]
    np.testing.assert_allclose(rates, np.interp(progress, [0, 0.3, 1], [0, 0.4, 0]), atol=1e-12)


def test_named_changes_the_epochs_alone():
    assert Recipe.named("short", 9) == Recipe(
        name="short", epochs=9, batch_size=32, schedule="one-cycle"
    )


@pytest.mark.parametrize("name", ["papers", "x" * 500])
def test_an_unknown_recipe_names_the_known_ones(name):
    with pytest.raises(
        InputError, match=r"use a file FILE.toml, or one of paper, short, finetune$"
    ) as caught:
        Recipe.named(name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 100_001),
        ("batch_size", 1),
        ("batch_size", 65_537),
        ("learning_rate", 0.0),
        ("learning_rate", 100.0),
        ("learning_rate", float("nan")),
        ("momentum", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("weight_decay", 1.0),
        ("schedule", "linear"),
        ("optimizer", "adam"),
        ("milestones", (0.5, 0.5)),
        ("milestones", (0.0, 0.5)),
        ("milestones", (0.5, 1)),
        ("milestones", "0.5"),
        ("warm_up", 1.0),
        ("warm_up", -0.1),
        ("warm_up", "a"),
        ("label_smoothing", 1.0),
        ("label_smoothing", float("nan")),
        ("clip_norm", 0.0),
        ("clip_norm", float("inf")),
        ("clip_norm", float("nan")),
        ("spare_norms", 1),
        ("precision", "fp16"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_rule(field, value):
    with pytest.raises(InputError, match="it must be") as caught:
        Recipe(**{"epochs": 5, field: value})
    message = str(caught.value)
    assert message.startswith(f"{field.replace('_', ' ')} is {value!r}")
    assert "\n" not in message


def test_json_of_an_older_recipe_stays_as_it_was():
    """The names of checkpoints are digests of it."""
    assert Recipe.named("paper").to_json() == {
        "name": "paper",
        "epochs": 400,
        "batch_size": 64,
        "learning_rate": 0.1,
        "schedule": "step",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "precision": "fp32",
    }


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adamw"},
        {"milestones": (0.25, 0.5)},
        {"warm_up": 0.1, "schedule": "cosine"},
        {"spare_norms": True},
        {"label_smoothing": 0.1},
        {"clip_norm": 1.0},
    ],
)
def test_json_has_every_value_and_gives_the_same_recipe(change):
    recipe = replace(Recipe.named("short"), **change)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert set(change) <= set(recipe.to_json())
    assert (recipe.text == "short") == (not change)


def test_milestones_and_warm_up_of_the_schedules():
    step = Recipe(epochs=10, learning_rate=1.0, milestones=(0.3, 0.6))
    assert epoch_rates(step) == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 4)
    constant = Recipe(epochs=10, learning_rate=1.0, schedule="constant", warm_up=0.2)
    assert epoch_rates(constant) == pytest.approx([0, 0.5] + [1] * 8)
