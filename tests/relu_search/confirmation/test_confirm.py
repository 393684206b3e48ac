"""A confirmation from end to end: equal fresh seeds, settings, locks, and the rows it writes."""

from __future__ import annotations

import pytest
from helpers.confirming import COLUMNS, confirmed, keys, refuse
from helpers.judging import (
    DEFAULT_ARMS,
    PLACEMENTS,
    Runner,
    files_under,
    make_search,
    read_rows,
)

from relu_search import RunFolder, SearchConfig, confirm
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials import load_data
from trials.files import memory
from trials.running.resources import Resources
from trials.running.trial import run_trial


def test_paired_all_modules_and_the_best_found_compete_on_equal_fresh_seeds(folder):
    runner = Runner()
    outcome = confirmed(folder, runner, seeds=3, top=2)
    assert (outcome.ending, outcome.failed) == ("complete", 0)
    assert runner.calls == [(PLACEMENTS[a], s) for s in (1, 2, 3) for a in DEFAULT_ARMS]
    assert keys(folder) == [(a, s) for s in (1, 2, 3) for a in DEFAULT_ARMS]
    assert list(read_rows(folder / "confirm.csv")[0]) == COLUMNS
    for spec in runner.specs:
        assert (spec.backbone.name, spec.width, spec.activation) == ("plain-8", 2, "relu")
        assert spec.recipe == SearchConfig(epochs=2).resolve().training_recipe


def test_the_default_seeds_follow_the_largest_seed_that_a_search_accepts(tmp_path):
    largest = 2**31 - 1
    with pytest.raises(InputError, match=f"at most {largest}"):
        SearchConfig(seed=largest + 1)
    folder = make_search(tmp_path / "run", seed=largest)
    runner = Runner()
    confirmed(folder, runner, top=0, modules=[])
    assert [seed for _, seed in runner.calls] == [largest + 1, largest + 2]
    split = load_data("digits", train_limit=100, seed=largest + 1_000)  # with the most seeds
    assert split.split_seed == largest + 1_000
    for wrong in (-1, largest + 2):
        with pytest.raises(InputError, match=f"first seed is {wrong}; it must be 0 to 2147483648"):
            confirmed(folder, refuse, first_seed=wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seeds": "6"}, "seeds is '6'; it must be a whole number"),
        ({"seeds": None}, "seeds is None; it must be a whole number"),
        ({"top": 1.5}, "top is 1.5; it must be a whole number"),
        ({"ratios": "5"}, "ratios is '5'; it must be a whole number"),
        ({"first_seed": 1.0}, "first_seed is 1.0; it must be a whole number"),
        ({"epochs": "2"}, "epochs is '2'; it must be a whole number"),
        ({"margin": "1"}, "margin is '1'; it must be a number between 0 and 1"),
        ({"modules": "2:1"}, r"modules is '2:1'; it must be a list of texts"),
        ({"modules": [21]}, "an item of modules is 21; it must be a text"),
        ({"recipe": {}}, "recipe is {}; it must be a Recipe, its name or a file"),
        ({"time_budget": 60}, "time_budget is 60; it must be a text such as '2h'"),
        ({"data": 5}, "data is 5; it must be a name"),
        ({"data_dir": 5}, "data_dir is 5; it must be a path"),
        ({"weights": 5}, "weights is 5; it must be a path"),
        ({"backbone": 5}, "backbone is 5; it must be a text"),
        ({"compute": "cpu"}, "compute is 'cpu'; it must be Machines"),
    ],
)
def test_arguments_of_other_types_are_refused(wrong, says, folder):
    before = files_under(folder)
    with pytest.raises(InputError, match=f"^{says}"):
        confirm(folder, runner=refuse, **wrong)
    assert files_under(folder) == before


def test_arms_of_one_seed_share_their_split_and_seeds_differ(folder):
    runner = Runner()
    confirmed(folder, runner, seeds=4)
    digests = {
        seed: {d for (_, s), d in runner.digests.items() if s == seed} for seed in range(1, 5)
    }
    assert all(len(found) == 1 for found in digests.values())
    assert len(set.union(*digests.values())) == 4
    for seed, found in digests.items():
        assert found == {load_data("digits", train_limit=100, seed=seed).split_digest}


def test_fresh_seeds_follow_the_searchs_own_or_start_where_asked(tmp_path):
    first = make_search(tmp_path / "a", seed=7)
    confirmed(first, Runner(), top=0)
    assert {seed for _, seed in keys(first)} == {8, 9}
    second = make_search(tmp_path / "b", seed=7)
    confirmed(second, Runner(), top=0, first_seed=5)
    assert {seed for _, seed in keys(second)} == {5, 6}
    with pytest.raises(InputError, match="the seed of the search"):
        confirmed(second, Runner(), seeds=3, top=0, first_seed=5)


def test_epochs_are_settled_by_the_first_call(folder):
    confirmed(folder, Runner(), epochs=3)
    before = files_under(folder)
    with pytest.raises(InputError, match=r"epochs is 2; .* was confirmed with 3 epochs"):
        confirmed(folder, refuse, seeds=3, epochs=2)
    assert files_under(folder) == before
    runner = Runner()
    confirmed(folder, runner, seeds=3)  # not said again: three as before, not the search's two
    assert {spec.recipe.epochs for spec in runner.specs} == {3}
    confirmed(folder, Runner(), seeds=4, epochs=3)


def test_data_that_changed_are_refused_before_anything_is_written(tmp_path):
    folder = make_search(tmp_path / "run", digest="0" * 16)
    before = files_under(folder)
    with pytest.raises(InputError, match="are not those of the search"):
        confirmed(folder, refuse)
    left = {path.name for path in files_under(folder).keys() - before.keys()}
    assert left <= {".lock"}


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_of_gpus_in_a_process_without_one_is_refused_before_anything_is_written(
    precision, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = make_search(tmp_path / "run", precision=precision)
    before = files_under(folder)
    with pytest.raises(InputError, match=rf"{precision} needs a GPU.*use fp32"):
        confirm(folder, seeds=2, epochs=3, compute=Machines(in_process=True))
    left = {path.name for path in files_under(folder).keys() - before.keys()}
    assert left <= {".lock"}


def test_a_folder_that_another_process_uses_is_refused(folder):
    with RunFolder(folder).lock(), pytest.raises(InputError, match="another process"):
        confirmed(folder, refuse)
    assert not (folder / "confirm.csv").exists()


def test_a_new_search_in_the_same_folder_removes_the_confirmation(folder):
    confirmed(folder, Runner())
    assert (folder / "confirm").is_dir()
    with RunFolder.create(str(folder), overwrite=True) as run:
        run.clear()
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.slow
def test_over_ray_two_arms_are_trained_on_two_seeds_and_an_exception_is_a_failed_run(folder):
    """The same runs in this process give the same rows."""

    def failing(spec, data, **options):
        if (spec.placement.text, spec.seed) == ("01*3", 2):
            raise RuntimeError("no such luck")
        return run_trial(spec, data, **options)

    options = {"top": 0, "modules": ["2:1"], "epochs": 1}
    workers = Machines(resources=Resources(concurrent=2, cpus_per_trial=0.5))
    outcome = confirmed(folder, failing, compute=workers, **options)
    assert (outcome.ending, outcome.failed) == ("complete", 1)
    rows = {(r["arm"], r["seed"]): r for r in read_rows(folder / "confirm.csv")}
    assert rows["2:1", "2"]["reason"] == "RuntimeError: no such luck"
    assert outcome.verdicts == []  # one seed in common is no comparison
    here = make_search(folder.parent / "here")
    confirmed(here, run_trial, **options)
    expected = {(r["arm"], r["seed"]): r for r in read_rows(here / "confirm.csv")}
    assert rows.keys() == expected.keys()
    for key in rows.keys() - {("2:1", "2")}:
        for name in set(COLUMNS) - {"seconds"}:
            assert rows[key][name] == expected[key][name]
    assert confirmed(folder, run_trial, **options).failed == 0
    again = {(r["arm"], r["seed"]): r for r in read_rows(folder / "confirm.csv")}
    assert again["2:1", "2"]["test_accuracy"] == expected["2:1", "2"]["test_accuracy"]


def test_a_network_that_does_not_fit_into_memory_is_refused_before_it_is_built(folder, monkeypatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 1_000)
    with pytest.raises(InputError, match="training plain-8, width 2 would take"):
        confirmed(folder, refuse)
    assert not (folder / "confirm.csv").exists()
