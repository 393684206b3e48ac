"""What to train, as data: text is read once, and JSON stays as it was for old runs."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from search_spaces import Backbone, InputError, Placement
from trials import Recipe, TrialSpec

RECIPE = Recipe(epochs=2, batch_size=16, schedule="one-cycle")
SPEC = TrialSpec(backbone="resnet-8", placement="paired", width=4, recipe=RECIPE, seed=1)


def test_texts_and_objects_give_the_same_spec():
    by_text = TrialSpec(backbone="resnet-8", width=4, placement="2:1", recipe=RECIPE)
    by_object = TrialSpec(
        backbone=Backbone("resnet", 8, 4), placement=Placement("01" * 3), recipe=RECIPE
    )
    assert by_text == by_object
    assert hash(by_text) == hash(by_object)
    assert (by_text.backbone.name, by_text.width, by_text.placement.text) == (
        "resnet-8",
        4,
        "01*3",
    )


def test_a_name_has_width_16_and_a_given_width_holds_for_a_backbone_too():
    assert TrialSpec(backbone="plain-8", placement="2:1", recipe=RECIPE).width == 16
    assert replace(SPEC, seed=2).width == 4
    assert replace(SPEC, width=8).backbone == Backbone("resnet", 8, 8)
    assert replace(SPEC, placement="linear").placement == Placement("0" * 6)


def test_a_spec_survives_json_and_pickle():
    for spec in (SPEC, replace(SPEC, placement="01*3@drop-norm", activation="elu")):
        assert TrialSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
        assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_json_is_that_of_earlier_versions():
    """Names of checkpoints are digests of it. This digest is the file name in an old run."""
    spec = TrialSpec(
        backbone="plain-8", width=4, placement="0*4+10", recipe=Recipe.named("short", 4)
    )
    written = json.dumps([spec.to_json(), "digits"], sort_keys=True)
    digest = hashlib.sha256(written.encode()).hexdigest()[:32]
    assert digest == "dd6798e735f61bf17677f9808ea153fa"


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "vgg-16"},
        {"backbone": "resnet-9"},
        {"placement": "1"},
        {"placement": "7:1"},
        {"width": 0},
        {"seed": -1},
        {"seed": np.zeros((90, 90))},
        {"backbone": np.zeros((90, 90))},
        {"placement": np.zeros((90, 90))},
        {"recipe": np.zeros((90, 90))},
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(change):
    with pytest.raises(InputError) as caught:
        replace(SPEC, **change)
    assert "\n" not in str(caught.value)
    assert "0." not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.pop("seed"),
        lambda spec: spec.update(colour="red"),
        lambda spec: spec.update(recipe=5),
        lambda spec: spec["recipe"].update(colour="red"),
        lambda spec: spec["recipe"].pop("epochs"),
    ],
    ids=["key gone", "key unknown", "recipe a number", "recipe key unknown", "recipe key gone"],
)
def test_json_with_other_keys_is_refused(change):
    value = SPEC.to_json()
    change(value)
    with pytest.raises(InputError) as caught:
        TrialSpec.from_json(value)
    assert "\n" not in str(caught.value)
