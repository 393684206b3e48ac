"""The paper's experiments: the published numbers, the planned runs, and the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.reproducing import PUBLISHED

from relu_search.reproduce.agreement import distance_lines
from relu_search.reproduce.paper_experiments import (
    EXPERIMENTS,
    ReproduceSettings,
    planned_runs,
    single_drops,
)
from search_spaces import Backbone, InputError
from trials.training.recipe import Recipe

FAMILIES = {"table1": "plain", "table2": "preresnet", "table3": "dfn"}
TYPES = ["paired", "3:2/type1", "3:2/type2", "3:2/type3"]


def test_the_tables_are_those_of_the_paper():
    found = {}
    for study in ("table1", "table2", "table3"):
        assert EXPERIMENTS[study].family == FAMILIES[study]
        for (data, depth, module), figure in EXPERIMENTS[study].cells.items():
            found.setdefault((study, data, depth), {})[module] = figure
    assert found == PUBLISHED


def test_the_figures_are_curves_without_numbers():
    assert {"figure6", "figure7", "figure8", "claims"} == EXPERIMENTS.keys() - FAMILIES.keys()
    for study in ("figure6", "figure7", "figure8", "claims"):
        assert set(EXPERIMENTS[study].cells.values()) == {None}


@pytest.mark.parametrize(
    ("study", "networks", "modules"),
    [
        ("table1", [("cifar100", f"plain-{d}") for d in (38, 62, 84)], ["paired", "2:1"]),
        (
            "table2",
            [
                ("cifar10", "preresnet-62"),
                *(("cifar100", f"preresnet-{d}") for d in (62, 110, 164)),
            ],
            ["paired", "2:1/first"],
        ),
        (
            "table3",
            [("cifar100", "dfn-110"), ("cifar10", "dfn-110")],
            ["paired", "4:3/type1", "4:3/type2"],
        ),
        ("figure6", [("cifar10", "preresnet-110")], ["paired", "2:1/first"]),
        ("figure7", [("cifar100", "preresnet-bottleneck-110")], TYPES),
        ("figure8", [("cifar100", "preresnet-bottleneck-164")], TYPES),
    ],
)
def test_the_planned_runs_of_a_study(study, networks, modules):
    runs = planned_runs(ReproduceSettings(experiment=study))
    expected = [(d, b, m, s) for d, b in networks for s in range(5) for m in modules]
    assert [run.key for run in runs] == expected
    assert {run.backbone.width for run in runs} == {16}


# module -> bits of one block, worked out from the paper's definitions
BLOCKS = {
    "2:1": "01",
    "2:1/first": "01",
    "3:2/type1": "011",
    "3:2/type2": "101",
    "3:2/type3": "110",
}


@pytest.mark.parametrize("study", ["table1", "table2", "figure6", "figure7", "figure8"])
def test_the_placements_of_a_study(study):
    for run in planned_runs(ReproduceSettings(experiment=study, seeds=2)):
        count = run.backbone.depth - 2
        if run.module == "paired":
            assert run.placement.bits == "1" * count
        else:
            block = BLOCKS[run.module]
            assert run.placement.bits == block * (count // len(block))


def test_the_placements_of_the_merge_and_run_network():
    """Sites of a block: branch 1 inner, after the sum, branch 2 inner, after the sum."""
    bits = {
        run.module: run.placement.bits
        for run in planned_runs(ReproduceSettings(experiment="table3"))
    }
    assert bits["paired"] == "1" * 107
    for module, kept in (("4:3/type1", 81), ("4:3/type2", 80)):
        assert (len(bits[module]), bits[module].count("1")) == (107, kept)
        assert bits[module][104:].count("1") == (3 if module == "4:3/type1" else 2)
        dropped = {(i % 4) % 2 for i in range(104) if bits[module][i] == "0"}
        assert dropped == ({1} if module == "4:3/type1" else {0})
        assert {bits[module][i : i + 4].count("0") for i in range(0, 104, 4)} == {1}


@pytest.mark.parametrize(("depth", "blocks"), [(110, (0, 18, 35)), (164, (0, 26, 53))])
def test_claims_drop_single_relus_in_the_first_middle_and_last_block(depth, blocks):
    backbone = Backbone("preresnet-bottleneck", depth, 16)
    runs = [
        run
        for run in planned_runs(ReproduceSettings(experiment="claims", seeds=2, depths=(depth,)))
        if run.seed == 0
    ]
    assert len(runs) == 10
    assert runs[0].module == "paired"
    indices = [run.placement.bits.index("0") for run in runs[1:]]
    assert indices == [3 * block + position for block in blocks for position in range(3)]
    assert {run.placement.bits.count("0") for run in runs[1:]} == {1}
    for run, index in zip(runs[1:], indices, strict=True):
        assert run.module == backbone.sites[index].name


@pytest.mark.parametrize("blocks", [1, 2, 3, 50])
def test_single_drops_name_each_site_once(blocks):
    drops = single_drops(Backbone("preresnet-bottleneck", 29, 4), blocks)
    assert len(drops) == 3 * min(blocks, 9)
    assert len({p.bits for p in drops.values()}) == len(drops)
    assert single_drops(Backbone("plain", 8, 4), 0) == {}


def test_the_recipe_is_the_papers():
    paper = ReproduceSettings(experiment="table1").training_recipe
    assert paper == Recipe(
        name="paper",
        epochs=400,
        batch_size=64,
        learning_rate=0.1,
        schedule="step",
        momentum=0.9,
        weight_decay=1e-4,
    )
    assert ReproduceSettings(experiment="table1", data="digits").training_recipe == replace(
        paper, epochs=60
    )
    assert ReproduceSettings(
        experiment="table1", data="digits", epochs=7
    ).training_recipe == replace(paper, epochs=7)
    assert ReproduceSettings(experiment="table1").seeds == 5


def test_naming_the_papers_own_data_changes_nothing():
    named = ReproduceSettings(experiment="table1", data="cifar100")
    assert named.training_recipe.epochs == 400
    settings = replace(named, epochs=400)
    assert distance_lines(settings, {"cifar100": 100}) == ["Setting: the paper's own."]


def test_data_and_depths_replace_those_of_the_paper():
    settings = ReproduceSettings(experiment="table2", data="digits", depths=(14, 20))
    assert [(d, b.name) for d, b in settings.networks] == [
        ("digits", "preresnet-14"),
        ("digits", "preresnet-20"),
    ]
    own = ReproduceSettings(experiment="table2", depths=(20,))
    assert [(d, b.name) for d, b in own.networks] == [
        ("cifar10", "preresnet-20"),
        ("cifar100", "preresnet-20"),
    ]
    assert len(ReproduceSettings(experiment="table2", data="digits").networks) == 3  # 62 but once


def test_a_reproduction_takes_the_seeds_that_a_search_takes():
    settings = ReproduceSettings(experiment="table1", seeds=1_000, first_seed=2**31 - 1)
    assert max(run.seed for run in planned_runs(settings)) == 2**31 + 998
    with pytest.raises(InputError, match="first seed is 2147483648; it must be at most 2147483647"):
        ReproduceSettings(experiment="table1", first_seed=2**31)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment", ["table1"]),
        ("data", 5),
        ("depths", 38),
        ("depths", (1.5,)),
        ("seeds", True),
        ("seeds", None),
        ("train_limit", []),
        ("download", 3),
        ("recipe", 5),
        ("deterministic", "no"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"^{name} "):
        ReproduceSettings(**{"experiment": "table1", name: value})
