"""Placement texts, backbone names and configs from hell: a value or one clear line."""

from __future__ import annotations

import dataclasses

import pytest
import tomli_w
from helpers.hostile import FEW, MANY, clean, corrupted, mutated, texts, values
from hypothesis import given
from hypothesis import strategies as st

from relu_search import SearchConfig
from search_spaces import Backbone, Placement, build, resolve_placement
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

BACKBONES = ("plain-8", "preresnet-8", "dfn-14")


def placement_text(text):
    placement = clean(lambda: Placement.parse(text))
    if placement is not None:
        assert set(placement.bits) <= {"0", "1"}
        assert Placement.parse(placement.text) == placement


def module_name(backbone, text):
    network = Backbone.parse(backbone, 4)
    placement = clean(lambda: resolve_placement(network, text))
    if placement is not None:
        assert len(placement) == len(network.sites)


def backbone_name(name, width):
    network = clean(lambda: Backbone.parse(name, width))
    if network is not None:
        assert network.name == name
        assert Backbone.parse(network.name, width) == network


OPTIONS = {
    **{field.name: field.default for field in dataclasses.fields(SearchConfig)},
    "backbone": "plain-8",
    "train_limit": 100,
    "storage": "sqlite:///study.db",
    "address": "127.0.0.1:1",
}
TOML = tomli_w.dumps({k: v for k, v in OPTIONS.items() if v is not None}).encode()


def options(given_options):
    config = clean(lambda: SearchConfig.from_options(given_options).resolve())
    if config is not None:
        assert config.trials >= 1
        assert config.training_recipe.epochs >= 1


def toml_file(path, content):
    path.write_bytes(content)
    clean(lambda: SearchConfig.from_options({}, path))


SPEC = TrialSpec(backbone="plain-8", placement="2:1", recipe=Recipe(epochs=2)).to_json()


def trial_spec(document):
    spec = clean(lambda: TrialSpec.from_json(document))
    if spec is not None:
        assert TrialSpec.from_json(spec.to_json()) == spec


def network(backbone, placement, classes, channels):
    clean(lambda: build(backbone, placement, width=1, num_classes=classes, in_channels=channels))


def fuzz(settings, tmp_path):
    """All surfaces of this file, each with as many examples as the settings say."""
    config = tmp_path / "options.toml"
    for strategies, surface in [
        ((texts,), placement_text),
        ((st.sampled_from(BACKBONES), texts), module_name),
        ((texts, st.one_of(st.integers(), st.integers(1, 64))), backbone_name),
        ((mutated(OPTIONS),), options),
        ((mutated(SPEC),), trial_spec),
    ]:
        settings(given(*strategies)(surface))()
    settings(given(corrupted(TOML))(lambda content: toml_file(config, content)))()
    classes = st.one_of(st.integers(), st.integers(2, 12), values)
    settings(given(st.sampled_from(BACKBONES), texts, classes, values)(network))()


def test_hostile_texts(tmp_path):
    fuzz(FEW, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_hostile_texts(tmp_path):
    fuzz(MANY, tmp_path)


@pytest.mark.parametrize("text", ["1" * 10**6, "01+" * 10**5, "1*1+" * 10**5 + "x", "9" * 10**6])
def test_a_million_characters(text):
    placement_text(text)
    module_name("plain-8", text)
    module_name("plain-8", f"{text}:1")
    module_name("plain-8", f"eraserelu:{text}")
    backbone_name(f"plain-{text}", 4)
    options({"backbone": text})
