"""The synthetic table: its model, the exact optimum, the noise of real trainings."""

import random
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from benchmarks.relu_bench import (
    METRICS,
    load,
    load_synthetic,
    placement_model,
    sixty_sites,
)
from benchmarks.relu_bench.placement_model import (
    Penalties,
    PlacementModel,
    Trainings,
    fitted,
    held_out,
)
from benchmarks.relu_bench.sixty_sites import deviations_of, drawn, first_design
from benchmarks.relu_bench.specs import SIXTY_SITES, SPECS
from benchmarks.relu_bench.synthetic import NEAREST, modelled, plain, points_of, target_of
from search_spaces import InputError

SIZES = (3, 4, 5)


def random_model(seed, targets=2):
    rng = np.random.default_rng(seed)
    count = sum(SIZES)
    return PlacementModel(
        rng.normal(size=(count, targets)),
        rng.normal(size=(count - 1, targets)),
        tuple(rng.normal(size=(size + 1, targets)) for size in SIZES),
        rng.normal(size=(count + 1, targets)),
    )


def value_of(model, bits, target):
    """A value by its definition, one term after the other."""
    signs = [1 if bit == "1" else -1 for bit in bits]
    value = sum(s * float(model.sites[i, target]) for i, s in enumerate(signs))
    value += sum(
        signs[i] * signs[i + 1] * float(model.pairs[i, target]) for i in range(len(bits) - 1)
    )
    start = 0
    for size, table in zip(SIZES, model.stages, strict=True):
        value += float(table[bits[start : start + size].count("1"), target])
        start += size
    return value + float(model.total[bits.count("1"), target])


ALL_BITS = ["".join(bits) for bits in product("01", repeat=sum(SIZES))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", [range(1, 13), [3], [0, 12]])
def test_the_best_placement_is_that_of_a_full_search(seed, kept):
    model = random_model(seed)
    values = {bits: value_of(model, bits, 1) for bits in ALL_BITS if bits.count("1") in kept}
    bits, value = model.lowest(1, kept)
    assert bits == min(values, key=values.get)
    assert value == pytest.approx(values[bits])


def test_a_model_predicts_its_definition():
    model = random_model(5)
    found = model.predict(points_of(ALL_BITS[::7]))
    expected = [[value_of(model, bits, target) for target in (0, 1)] for bits in ALL_BITS[::7]]
    np.testing.assert_allclose(found, expected)


def noisy_trainings(noise, count=600):
    rng = np.random.default_rng(1)
    model = random_model(2)
    smooth = tuple(np.sqrt(np.arange(size + 1.0))[:, None] * [[1, -1]] for size in SIZES)
    model = replace(model, stages=smooth, total=np.arange(13.0)[:, None] ** 2 / 50 * [[1, 2]])
    points = rng.integers(0, 2, size=(count, sum(SIZES)))
    seeds = rng.integers(0, 4, size=count)
    effects = np.array([[-3, 0], [-1, 1], [0, 2], [4, -3]]) / 2
    values = model.predict(points) + effects[seeds] + noise * rng.normal(size=(count, 2))
    return model, effects, Trainings(points, seeds, values, SIZES, np.ones(11, dtype=bool))


SMALL = Penalties(sites=1e-6, pairs=1e-6, stages=1e-6, total=1e-6)


def test_a_fit_finds_the_model_and_the_effects_of_seeds():
    model, effects, data = noisy_trainings(noise=0)
    found, seeds = fitted(data, SMALL)
    np.testing.assert_allclose(seeds, effects, atol=1e-3)
    points = points_of(ALL_BITS)
    points = points[(points.sum(axis=1) > 2) & (points.sum(axis=1) < 10)]
    np.testing.assert_allclose(found.predict(points), model.predict(points), atol=0.05)
    np.testing.assert_allclose(found.pairs, model.pairs, atol=0.02)


def test_a_kind_of_feature_can_be_left_out():
    _, _, data = noisy_trainings(noise=0)
    found, _ = fitted(data, replace(SMALL, pairs=np.inf))
    assert not found.pairs.any()
    assert found.sites.any()


def test_held_out_predictions_know_nothing_of_the_placement():
    """A placement's own values, however far off, do not change what is predicted for it."""
    _, _, data = noisy_trainings(noise=1)
    changed = replace(data, values=data.values.copy())
    same = (data.points == data.points[0]).all(axis=1)
    changed.values[same] += 1000
    before, after = held_out(data, SMALL), held_out(changed, SMALL)
    np.testing.assert_allclose(before[same], after[same])
    assert not np.allclose(before[~same], after[~same])


def fresh():
    """The shipped table with no placement numbered."""
    return replace(load_synthetic())


def some_placements(count, kept=None):
    rng = random.Random(3)
    return [drawn(rng, 60, rng.randint(0, 60) if kept is None else kept) for _ in range(count)]


def test_a_curve_is_the_same_whatever_was_asked_before():
    first, second = fresh(), fresh()
    bits = [placement.bits for placement in some_placements(5)]
    for each in reversed(bits):
        second.row_of[each]
    assert first.row_of[bits[0]] == 0 == second.row_of[bits[4]]
    for each, seed in zip(bits, (0, 3, 9, 2, 3), strict=True):
        curves = [table.curves(table.row_of[each], seed) for table in (first, second)]
        for metric in METRICS:
            assert curves[0][metric].shape == (4,)
            np.testing.assert_array_equal(curves[0][metric], curves[1][metric])


@pytest.mark.slow
def test_a_curve_is_the_same_in_another_process():
    code = (
        "from benchmarks.relu_bench import load_synthetic as load; table = load();"
        "print(table.curves(table.row_of['01' * 30], 7)['val_loss'].tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    table = fresh()
    assert found.stdout.strip() == str(
        table.curves(table.row_of["01" * 30], 7)["val_loss"].tolist()
    )


def noise_of(table, placement, seed):
    """What a training has beside the model and the effect of its seed, (targets,)."""
    curves = table.curves(table.row_of[placement.bits], seed)
    parts = [
        np.log(curve) if metric.endswith("loss") else np.log(curve / (1 - curve))
        for metric, curve in curves.items()
    ]
    return (
        np.hstack(parts)
        - table.model.predict(points_of([placement.bits]))[0]
        - (table.seed_effects[seed])
    )


def test_the_noise_is_that_of_one_real_training_with_a_similar_number_of_relus():
    table = fresh()
    real = table.deviations.reshape(-1, table.deviations.shape[2])
    for number, placement in enumerate(some_placements(40)):
        seed = number % 10
        noise = noise_of(table, placement, seed)
        distances = np.abs(real - noise).max(axis=1)
        which = int(distances.argmin())
        assert distances[which] < 1e-6
        repeated, of_seed = divmod(which, 10)
        far = np.abs(table.repeated - placement.kept)
        assert (far < far[repeated]).sum() < NEAREST
        row = table.row_of[placement.bits]
        assert table.seconds_of(row, seed) == table.seconds[repeated, of_seed]


def test_the_mean_over_trainings_is_the_model_and_their_spread_is_that_of_the_real_ones():
    table = fresh()
    kept = 20
    target = target_of(SIXTY_SITES, "val_loss")
    found = [
        noise_of(table, placement, seed)[target]
        for placement in some_placements(150, kept)
        for seed in range(10)
    ]
    nearest = np.argsort(np.abs(table.repeated - kept), kind="stable")[:NEAREST]
    real = table.deviations[nearest, :, target]
    assert real.mean() == pytest.approx(0, abs=1e-6)
    assert np.mean(found) == pytest.approx(0, abs=4 * real.std() / np.sqrt(len(found)))
    assert np.std(found) == pytest.approx(real.std(), rel=0.05)
    np.testing.assert_allclose(table.seed_effects.mean(axis=0), 0, atol=1e-6)


def test_all_near_trainings_are_drawn_equally_often_with_every_seed():
    table = fresh()
    placements = some_placements(400, kept=20)
    for seed in range(10):
        drawn_seconds = [table.seconds_of(table.row_of[p.bits], seed) for p in placements]
        nearest = np.argsort(np.abs(table.repeated - 20), kind="stable")[:NEAREST]
        values, expected = np.unique(table.seconds[nearest], return_counts=True)
        found = np.array([drawn_seconds.count(value) for value in values])
        assert found.sum() == 400
        assert chisquare(found, 400 * expected / expected.sum()).pvalue > 1e-4


def test_no_placement_is_better_than_the_best_one():
    table = fresh()
    bits, truth = table.best
    assert table.truth(points_of([bits]))[0] == pytest.approx(truth)
    best = points_of([bits])[0]
    near = [best ^ (np.arange(60) == i) ^ (np.arange(60) == j) for i in range(60) for j in range(i)]
    near += [best ^ (np.arange(60) == i) for i in range(60)]
    others = np.random.default_rng(0).integers(0, 2, size=(2000, 60))
    assert table.truth(np.vstack([near, others])).min() > truth


def test_what_a_synthetic_table_does_not_have_is_refused():
    table = fresh()
    with pytest.raises(InputError, match="seed is -1; seeds of table sixty-sites begin at 0"):
        table.curves(table.row_of["01" * 30], -1)
    with pytest.raises(InputError, match="has 4 sites; the table's network has 60"):
        table.row_of["0101"]
    with pytest.raises(InputError, match="synthetic table 'plain-12' is unknown"):
        load_synthetic("plain-12")


def test_losses_and_accuracies_come_back_from_the_scale_of_the_model():
    np.testing.assert_allclose(
        plain("val_loss", modelled("val_loss", np.array([0.3, 2]), 9)), [0.3, 2]
    )
    right = np.array([0, 3, 9]) / 9
    found = plain("val_accuracy", modelled("val_accuracy", right, 9))
    np.testing.assert_allclose(found, [0.05, 0.35, 0.95])


def test_deviations_have_the_variance_of_the_noise():
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.normal(size=(6, 4, 5000))
    values = noise + rng.normal(size=(6, 1, 5000)) + rng.normal(size=(1, 4, 5000))
    found = deviations_of(values)
    assert found.std() == pytest.approx(0.3, rel=0.02)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-9)


def test_a_real_table_gives_curves_too():
    table = load()
    row = table.row_of["0101010101"]
    assert table.curves(row, 3)["val_loss"][1] == table.query("01*5", 2, 3)["val_loss"]
    assert table.seconds_of(row, 3) == table.query("01*5", 2, 3)["seconds"]


def test_the_first_design_has_all_densities_and_repeats_some_placements_with_every_seed():
    runs = first_design(SIXTY_SITES)
    assert len(set(runs)) == len(runs)
    repeated = [placement for placement, _ in runs[:400]]
    assert repeated[:40] * 10 == repeated
    assert [seed for _, seed in runs[:400]] == [seed for seed in range(10) for _ in range(40)]
    counts = np.bincount([placement.kept for placement, _ in runs[400:]], minlength=61)
    assert (np.add.reduceat(counts, range(0, 60, 6)) > 15).all()


@pytest.mark.slow
def test_a_table_is_made_in_one_command_that_can_be_continued(tmp_path, monkeypatch):
    small = {"REPEATED": 6, "UNIFORM": 6, "BY_STAGE": 2, "CHANGED": 2, "SIMILAR": 2, "FARTHEST": 2}
    for name, value in small.items():
        monkeypatch.setattr(sixty_sites, name, value)
    monkeypatch.setattr(placement_model, "GRID", placement_model.GRID[:2])
    spec = replace(
        SPECS["preresnet-8"], name="small", granularity="site", seeds=2, width=2, train_images=40
    )
    spec = replace(spec, validation_images=50, recipe=replace(spec.recipe, epochs=1))
    log = tmp_path / "small.jsonl"
    result = sixty_sites.made(spec, log)
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:9]) + "\n" + lines[9][:40])
    again = sixty_sites.made(spec, log)
    assert [(row["bits"], row["seed"]) for row in again.rows] == [
        (row["bits"], row["seed"]) for row in result.rows
    ]
    np.testing.assert_allclose(again.table.truth(EVERY), result.table.truth(EVERY), rtol=1e-3)
    distinct = {(row["bits"], row["seed"]) for row in result.rows[: len(result.data.points)]}
    said = sixty_sites.report(result)
    assert said.startswith(
        f"{len(distinct)} trainings of {len({b for b, _ in distinct})} placements"
    )
    bits, truth = result.table.best
    values = result.table.truth(EVERY)
    assert truth == pytest.approx(values[1:].min())
    assert bits == "".join(map(str, EVERY[1:][values[1:].argmin()]))


EVERY = np.array(list(product((0, 1), repeat=6)))
