"""Made-up tables of a confirmation, in the columns that a real one writes.

Six seeds of five arms: paired, 2:1, the control, and two found, one of them with a diverged run.
Accuracies are drawn with a fixed seed; intervals are Student's, the BCa ones just a bit narrower.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

SEEDS = range(101, 107)
ARMS = {  # origin, placement, ratio, ReLUs, trial of the search, expected accuracy
    "paired": ("control", "1*6", "1:1", 6, None, 0.900),
    "2:1": ("module", "01*3", "2:1", 3, None, 0.912),
    "linear": ("control", "0*6", "1:0", 0, None, 0.850),
    "found 1": ("found", "1*3+01*1+1", "6:5", 5, 4, 0.915),
    "found 2": ("found", "10*3", "2:1", 3, 5, 0.901),
}


def confirm_table() -> pd.DataFrame:
    """`confirm.csv`: one row per arm and seed; the last run of `found 2` diverged."""
    rng = np.random.default_rng(7)
    of_seed = {seed: rng.normal(0, 0.003) for seed in SEEDS}
    rows = []
    for arm, (origin, placement, ratio, relus, trial, mean) in ARMS.items():
        for seed in SEEDS:
            accuracy = mean + of_seed[seed] + rng.normal(0, 0.003)
            diverged = arm == "found 2" and seed == SEEDS[-1]
            rows.append(
                {
                    "arm": arm,
                    "origin": origin,
                    "placement": placement,
                    "ratio": ratio,
                    "relus": relus,
                    "search_trial": trial,
                    "seed": seed,
                    "state": "DIVERGED" if diverged else "COMPLETE",
                    "epochs": 3,
                    "test_accuracy": None if diverged else accuracy,
                    "test_loss": None if diverged else 1 - accuracy,
                    "val_accuracy": None if diverged else accuracy + 0.004,
                    "val_loss": None if diverged else 1 - accuracy,
                    "train_loss": None if diverged else 0.1,
                    "seconds": 1.5,
                    "reason": "loss is not finite" if diverged else "",
                }
            )
    return pd.DataFrame(rows)


def verdict_table(runs: pd.DataFrame) -> pd.DataFrame:
    """`verdict.csv`: every arm against paired and against 2:1, no pair twice."""
    by_seed = runs.pivot_table(index="seed", columns="arm", values="test_accuracy")
    rows = []
    for versus in ("paired", "2:1"):
        for arm, (origin, placement, ratio, relus, _, _) in ARMS.items():
            if arm == versus or (arm, versus) == ("paired", "2:1"):
                continue
            gaps = (by_seed[arm] - by_seed[versus]).dropna()
            n, gap = len(gaps), gaps.mean()
            reach = stats.t.ppf(0.975, n - 1) * gaps.std() / math.sqrt(n)
            verdict = "better" if gap > reach else "worse" if gap < -reach else "inconclusive"
            mine = by_seed[arm].dropna()
            is_found = origin == "found"
            rows.append(
                {
                    "arm": arm,
                    "versus": versus,
                    "placement": placement,
                    "ratio": ratio,
                    "relus": relus,
                    "n": n,
                    "mean": mine.mean(),
                    "std": mine.std(),
                    "reference_mean": by_seed[versus].mean(),
                    "difference": gap,
                    "spread": gaps.std(),
                    "t_low": gap - reach,
                    "t_high": gap + reach,
                    "bca_low": gap - 0.8 * reach,
                    "bca_high": gap + 0.8 * reach,
                    "p_t": 0.01,
                    "p_t_holm": 0.03,
                    "p_sign_flip": 0.03125,
                    "hedges_g": 1.0,
                    "p_superior": 0.9,
                    "p_tost": 0.5,
                    "p_tost_holm": 1.0,
                    "margin": 0.003,
                    "look": 1,
                    "level": 0.02,
                    "least_seeds": 6,
                    "verdict": verdict,
                    "more_seeds": 8 if verdict == "inconclusive" else None,
                    "diverged": 6 - n,
                    "dropped_after": None,
                    "search_accuracy": mine.mean() + 0.02 if is_found else None,
                    "confirmed_val_accuracy": mine.mean() + 0.004 if is_found else None,
                    "shrinkage": 0.016 if is_found else None,
                }
            )
    return pd.DataFrame(rows)
