"""Rows of `trials.csv` made by hand, and noisy tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

BLANK = {
    "state": "COMPLETE",
    "module": "",
    "placement": "01*3",
    "ratio": "2:1",
    "relus": 3,
    "relu_elements": 100,
    "params": 1000,
    "macs": 5000,
    "seed": 0,
    "epochs": 3,
    "val_accuracy": 0.5,
    "val_loss": 1.0,
    "train_loss": 1.0,
    "seconds": 0.1,
    "latency_ms": 1.5,
    "latency_q25_ms": 1.25,
    "latency_q75_ms": 1.75,
    "back_end": "eager",
    "start": "from scratch",
    "reason": "",
}
"""A row of `trials.csv` but for its number."""
LINEAR = {"module": "linear", "placement": "0*6", "ratio": "1:0", "relus": 0}
FAILED = {
    "state": "FAIL",
    "epochs": 0,
    "val_accuracy": None,
    "val_loss": None,
    "train_loss": None,
    "reason": 'ValueError: "no", such\nluck',
}


def rows_like(*differences):
    """Rows of `trials.csv` that differ from `BLANK` by these; each has a placement of its own."""
    return [
        {"trial": i, **BLANK, "placement": f"{i:06b}"} | row for i, row in enumerate(differences)
    ]


def loss_table(bits, losses, seeds=None):
    """Full-length trials with these placements and losses."""
    return pd.DataFrame(
        {
            "trial": range(len(bits)),
            "state": "COMPLETE",
            "module": "",
            "placement": bits,
            "ratio": "",
            "relus": [text.count("1") for text in bits],
            "seed": seeds if seeds is not None else 0,
            "epochs": 3,
            "val_accuracy": np.exp(-np.asarray(losses)),
            "val_loss": losses,
            "reason": "",
        }
    )


def noisy_losses(seed, count=40, noise=0.3):
    """Additive truth in log loss, one noisy run each: (bits, losses, truths)."""
    rng = np.random.default_rng(seed)
    points = rng.integers(2, size=(count, 6))
    truth = points @ np.array([0.5, -0.4, 0.3, 0.0, 0.1, -0.2])
    losses = np.exp(truth + noise * rng.standard_normal(count))
    return ["".join(map(str, p)) for p in points], losses, np.exp(truth)


def accuracy_table(*rows):
    """(placement, accuracy) pairs as full-length trials; a third element is the state."""
    return pd.DataFrame(
        [
            {"trial": i, "placement": p, "val_accuracy": a, "state": (*state, "COMPLETE")[0]}
            for i, (p, a, *state) in enumerate(rows)
        ],
        columns=["trial", "placement", "val_accuracy", "state"],
    )
