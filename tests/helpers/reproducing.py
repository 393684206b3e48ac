"""Small reproductions on the digits without Ray, and what the paper published."""

from __future__ import annotations

import random

import pandas as pd
from helpers.judging import HERE

from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.reproduce.run_experiment import reproduce

# Retyped from the tables of the paper: (study, data, depth) -> module: mean and std of 5 runs.
PUBLISHED = {
    ("table1", "cifar100", 38): {"paired": (64.04, 0.14), "2:1": (64.25, 1.44)},
    ("table1", "cifar100", 62): {"paired": (56.88, 1.16), "2:1": (60.86, 1.18)},
    ("table1", "cifar100", 84): {"paired": (44.16, 0.57), "2:1": (55.98, 2.59)},
    ("table2", "cifar10", 62): {"paired": (93.59, 0.20), "2:1/first": (93.97, 0.23)},
    ("table2", "cifar100", 62): {"paired": (71.43, 0.32), "2:1/first": (72.19, 0.18)},
    ("table2", "cifar100", 110): {"paired": (72.46, 0.10), "2:1/first": (73.41, 0.10)},
    ("table2", "cifar100", 164): {"paired": (73.00, 0.31), "2:1/first": (74.12, 0.22)},
    ("table3", "cifar100", 110): {
        "paired": (75.59, 0.19),
        "4:3/type1": (75.61, 0.38),
        "4:3/type2": (74.53, 0.80),
    },
    ("table3", "cifar10", 110): {"paired": (95.04, 0.06), "4:3/type1": (95.26, 0.14)},
}


def small(experiment="table1", **changes):
    """A small reproduction on the digits."""
    options = {"data": "digits", "depths": (5, 8), "width": 2, "epochs": 2, "seeds": 2}
    return ReproduceSettings(experiment=experiment, **{**options, **changes})


def reproduced(settings, folder, runner, **options):
    return reproduce(settings, out=str(folder), compute=HERE, runner=runner, **options)


def run_table(cells, data="digits"):
    """(backbone, module) -> accuracies, as the table of a reproduction; seeds count from 0."""
    rows = [
        {
            "data": data,
            "backbone": backbone,
            "module": module,
            "seed": seed,
            "state": "COMPLETE",
            "test_accuracy": accuracy,
        }
        for (backbone, module), values in cells.items()
        for seed, accuracy in enumerate(values)
    ]
    return pd.DataFrame(rows)


def level(placement, seed):
    """Test accuracies: a seeded draw, higher where the first ReLU is dropped."""
    value = 0.6 if placement.startswith("0") else 0.5
    return value + random.Random(f"{placement} {seed}").uniform(-0.02, 0.02)


def refuse(*_arguments, **_options):
    raise AssertionError("nothing is left to train")
