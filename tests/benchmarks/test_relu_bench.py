"""The shipped tables, their loader, and searches replayed against them."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from benchmarks.relu_bench import SPECS, load, query
from benchmarks.relu_bench.build import pack, rows_of, train_missing
from benchmarks.relu_bench.images import shrunk
from benchmarks.relu_bench.reliability import reliability
from benchmarks.relu_bench.specs import METRICS, PRECISE_METRICS
from benchmarks.relu_bench.training import train_one, train_pack
from benchmarks.replay.simulator import STOCK, Replay
from search_spaces import InputError
from trials import load_data, run_trial


@pytest.mark.parametrize("name", SPECS)
def test_a_table_has_every_placement_with_all_its_seeds(name):
    table = load(name)
    assert len(table.spec.placements) == table.spec.space.combinations
    assert (table.seeds == table.spec.seeds).all()


def test_the_table_says_what_training_gives():
    spec = SPECS["plain-12"]
    data = load_data(
        spec.data, train_limit=spec.train_images, validation_images=spec.validation_images
    )
    trained = run_trial(spec.trial(spec.placements[37], 2), data).epochs
    for metrics in trained:
        known = query(spec.placements[37], metrics.epoch, 2)
        assert known["val_loss"] == pytest.approx(metrics.val_loss, rel=0.05)
        assert known["val_accuracy"] == pytest.approx(metrics.val_accuracy, abs=0.01)


@pytest.mark.parametrize(
    ("placement", "epoch", "seed", "says"),
    [
        ("2:1", 0, 0, "epoch is 0; table plain-12 has 1 to 4"),
        ("2:1", 1, 10, "seed is 10; table plain-12 has 0 to 9"),
        ("01*4", 1, 0, "10"),
        ("2:1@drop-norm", 1, 0, "is not in table"),
    ],
)
def test_a_query_that_has_no_answer_is_refused(placement, epoch, seed, says):
    with pytest.raises(InputError, match=says):
        query(placement, epoch, seed)


def test_reliability_is_that_of_an_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(12, 4)) + np.arange(12)[:, None] / 4
    long = pd.DataFrame(values).melt(ignore_index=False, value_name="y").reset_index(names="row")
    mean_squares = anova_lm(smf.ols("y ~ C(row)", long).fit())["mean_sq"]
    between, within = mean_squares["C(row)"], mean_squares["Residual"]
    found = reliability(values, np.zeros(12, dtype=int))
    assert found.mean == pytest.approx((between - within) / between)
    assert found.single == pytest.approx((between - within) / (between + 3 * within))


def test_a_build_goes_on_behind_the_last_whole_line(tmp_path, monkeypatch):
    from benchmarks.relu_bench import specs

    monkeypatch.setattr(specs, "FOLDER", tmp_path)
    spec = replace(SPECS["preresnet-8"], granularity="network", seeds=1, train_images=40)
    log = tmp_path / "log.jsonl"
    train_missing(spec, log)
    whole = log.read_text().splitlines()
    log.write_text(f"{whole[0]}\n{whole[1][:30]}")
    train_missing(spec, log)
    again = list(rows_of(log))
    assert [row["bits"] for row in again] == [p.bits for p in spec.placements]
    pack(spec, log)
    with np.load(spec.path) as file:
        np.testing.assert_allclose(
            file["val_loss"][:, 0], [r["val_loss"] for r in again], atol=1e-4
        )


def test_images_are_averaged_over_squares():
    images = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    square = images[1, 2:4, 4:6, 2].astype(float)
    assert shrunk(images, 2).shape == (2, 2, 3, 3)
    assert shrunk(images, 2)[1, 1, 2, 2] == round(square.sum() / 4)


def test_a_pack_of_a_table_equals_its_trainings():
    spec = replace(SPECS["preresnet-8"], train_images=64, validation_images=100, width=2)
    data = load_data(spec.data, train_limit=64, validation_images=100)
    trials = [replace(spec.trial(spec.placements[row], row)) for row in (3, 60)]
    trials = [replace(t, recipe=replace(t.recipe, epochs=1, batch_size=64)) for t in trials]
    metrics = METRICS + PRECISE_METRICS
    packed = train_pack(trials, data, data.validation, metrics, "cpu")
    for trial, row in zip(trials, packed, strict=True):
        alone = train_one(trial, data, data.validation, metrics)
        assert row["failure"] is alone["failure"] is None
        for metric in metrics:
            assert row[metric] == pytest.approx(alone[metric], rel=1e-3), metric
        assert row["test_loss"] == row["val_loss"]
        assert row["precise_val_loss"] != row["val_loss"]


@pytest.mark.parametrize("sampler", ["tpe", "gp", STOCK])
def test_a_replay_spends_its_budget_and_repeats_itself(sampler):
    def replayed(workers):
        options = {"trials": 40, "seeds": range(10), "seed": 4, "workers": workers}
        return Replay(table=load(), sampler=sampler, **options).run()

    ended = replayed(workers=4)
    assert len(ended) == 40
    assert ended == replayed(workers=4)
    assert {trial.epochs for trial in ended} <= {1, 2, 3, 4}
    if sampler == "random":  # gp proposes few that are hopeless
        assert any(trial.epochs < 4 for trial in ended)
    clocks = [trial.clock for trial in ended]
    assert clocks == sorted(clocks)
    assert clocks[-1] < replayed(workers=1)[-1].clock / 2


def test_without_early_stopping_all_trials_are_of_full_length():
    replay = Replay(
        table=load(), sampler="random", trials=12, seeds=range(10), early_stopping=False
    )
    ended = replay.run()
    assert [trial.epochs for trial in ended] == [4] * 12
    table = load()
    spent = math.fsum(float(table.seconds[trial.row, trial.seed]) for trial in ended)
    assert ended[-1].clock == pytest.approx(spent)
