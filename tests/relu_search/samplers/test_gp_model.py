"""The Gaussian process against the textbook's formulas, written with explicit inverses."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from relu_search.samplers.gp_model import MOST_TRIALS, Surrogate, kept_trials


def observed(count=30, units=6, noise=0.3):
    rng = np.random.default_rng(1)
    points = rng.integers(2, size=(count, units))
    return points, points @ np.arange(1, units + 1) + rng.normal(scale=noise, size=count)


def textbook(model, points, scores, new):
    """Posterior mean and sd by Rasmussen and Williams, equations 2.25 and 2.26."""

    def kernel(a, b):
        agree = (a[:, None, :] == b[None, :, :]).mean(axis=2)
        joint = np.exp((agree - 1) / model._length)
        return model._scale**2 * ((1 - model._joint) * agree + model._joint * joint)

    inverse = np.linalg.inv(kernel(points, points) + model.noise**2 * np.eye(len(points)))
    cross = kernel(new, points)
    mean = model._mean + cross @ inverse @ (scores - model._mean)
    variance = np.diag(kernel(new, new) - cross @ inverse @ cross.T)
    return mean, np.sqrt(variance)


def test_posterior_is_that_of_the_textbook():
    points, scores = observed()
    new = np.random.default_rng(2).integers(2, size=(20, 6))
    model = Surrogate.fit(points, scores)
    mean, sd = model.predict(new)
    expected_mean, expected_sd = textbook(model, points, scores, new)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5)
    np.testing.assert_allclose(sd, expected_sd, rtol=1e-4)


def test_believed_trials_leave_the_mean_and_shrink_the_sd():
    points, scores = observed()
    new = np.random.default_rng(3).integers(2, size=(20, 6))
    model = Surrogate.fit(points, scores)
    believing = model.believing(new[:3])
    np.testing.assert_allclose(believing.predict(new)[0], model.predict(new)[0], rtol=1e-6)
    assert (believing.predict(new)[1] <= model.predict(new)[1] + 1e-9).all()
    assert (believing.predict(new[:3])[1] < model.predict(new[:3])[1]).all()


def test_augmented_improvement_follows_its_definition():
    points, scores = observed()
    model = Surrogate.fit(points, scores)
    mean, sd = model.predict(points)
    effective = mean[np.argmax(mean - sd)]
    draws = np.random.default_rng(0).normal(size=400_000)
    for i, worth in enumerate(model.augmented_improvement(points)[:5]):
        improvement = np.maximum(mean[i] + sd[i] * draws - effective, 0).mean()
        factor = 1 - model.noise / np.sqrt(sd[i] ** 2 + model.noise**2)
        assert abs(worth - improvement * factor) < 0.01 * sd[i]


def test_noise_is_estimated_from_the_residuals():
    points, scores = observed(count=200, noise=0.5)
    assert 0.3 < Surrogate.fit(points, scores).noise < 0.9


def test_a_diverged_network_says_nothing_about_the_good_ones():
    points, scores = observed()
    spoilt = scores.copy()
    spoilt[np.argmin(scores)] = -1e9
    assert abs(Surrogate.fit(points, spoilt).predict(points)[0]).max() < 100


def test_few_trials_are_all_kept_and_many_are_the_best_and_the_latest():
    assert kept_trials(np.zeros(7)).tolist() == list(range(7))
    scores = norm.rvs(size=3 * MOST_TRIALS, random_state=0)
    kept = kept_trials(scores)
    assert len(kept) == MOST_TRIALS
    assert np.argmax(scores) in kept
    assert len(scores) - 1 in kept


def test_hypervolume_improvement_is_that_of_simulation():
    """One cost: area gained above the staircase of the best means, averaged over draws."""
    rng = np.random.default_rng(1)
    points = rng.integers(2, size=(12, 5))
    scores = points @ np.array([1.0, 0.5, -0.3, 0.2, 0.1]) + 0.1 * rng.standard_normal(12)
    model = Surrogate.fit(points, scores)
    tried_costs = points.sum(axis=1, keepdims=True).astype(float)
    candidates = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    costs = candidates.sum(axis=1, keepdims=True).astype(float)
    worth = model.hypervolume_improvement(candidates, costs, tried_costs)

    mean, sd = model.predict(points)
    floor = mean.min() - sd.max()
    everything = np.unique(np.concatenate([costs, tried_costs]))
    scale = everything.max() - everything.min()
    for i, candidate in enumerate(candidates):
        mu, sigma = (float(v[0]) for v in model.predict(candidate[None]))
        draws = mu + sigma * norm.ppf((np.arange(20_000) + 0.5) / 20_000)
        gain = np.zeros(len(draws))
        for edge, end in zip(everything, [*everything[1:], everything[-1] + 0.1 * scale]):  # noqa: B905
            level = max([floor, *mean[tried_costs[:, 0] <= edge]])
            if costs[i, 0] <= edge:
                gain += np.maximum(draws - level, 0) * (end - edge) / scale
        expected = gain.mean() * (1 - model.noise / np.hypot(sigma, model.noise))
        assert worth[i] == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_a_cost_under_a_floor_is_improved_where_the_score_is_likely_above_it():
    """The formula by hand: what is saved against the cheapest known one, times its chance."""
    rng = np.random.default_rng(2)
    points = rng.integers(2, size=(12, 4))
    scores = points @ np.array([0.4, 0.2, 0.1, 0.05]) + 0.02 * rng.standard_normal(12)
    model = Surrogate.fit(points, scores)
    everything = np.array(list(product((0, 1), repeat=4)))
    costs, tried = everything.sum(axis=1).astype(float), points.sum(axis=1).astype(float)
    floor = 0.45
    worth = model.cost_improvement(everything, costs, tried, floor)
    known, _ = model.predict(points)
    best = min(cost for cost, mean in zip(tried, known, strict=True) if mean >= floor)
    for point, cost, value in zip(everything, costs, worth, strict=True):
        (mean,), (sd,) = model.predict(point[None])
        assert value == pytest.approx(max(best - cost, 0) * (1 - norm.cdf(floor, mean, sd)))
    assert worth.max() > 0
    alone = model.cost_improvement(everything, costs, tried, 10.0)  # none is above
    mean, sd = model.predict(everything)
    assert alone == pytest.approx(norm.sf(10.0, mean, sd))
