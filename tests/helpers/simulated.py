"""Simulated confirmations with known true differences."""

from __future__ import annotations

import numpy as np

from relu_search.confirmation.verdict_rule import judge


def exact_sign_flip_p(differences):
    """Share of all 2**n flips of signs with a sum at least as large."""
    sums = np.zeros(1)
    for d in differences:
        sums = np.concatenate([sums + d, sums - d])
    return float(np.mean(np.abs(sums) >= abs(np.sum(differences)) - 1e-12))


def by_seed(values, first=0):
    """Scores as the statistics take them: seed -> accuracy."""
    return {first + i: float(value) for i, value in enumerate(values)}


def judged_against(arms, reference, **options):
    """Each arm against one reference, as one family: arm -> Judgement."""
    scores = {**arms, "reference": reference}
    judged = judge(scores, [(name, "reference") for name in arms], **options)
    return {name: judgement for (name, _), judgement in judged.items()}


NOISES = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape),
    # One run in four ends far below, as plain-38's do.
    "bimodal": lambda rng, shape: rng.normal(0, 0.3, shape) - 4 * (rng.random(shape) < 0.25),
}


def simulate(noise, n, seed, *, confirmations=2000, arms=5, lead=0.0, shared=1.0):
    """Accuracies (confirmation, arm, seed); the first is paired, the second may be ahead."""
    rng = np.random.default_rng([seed, n])
    draw = NOISES[noise]
    runs = draw(rng, (confirmations, arms + 1, n))
    runs += shared * draw(rng, (confirmations, 1, n))
    runs[:, 1] += lead
    return 0.8 + 0.01 * runs
