"""Confirmations of the made-up search of `helpers.judging`, without Ray."""

from __future__ import annotations

from helpers.judging import HERE, read_rows

from relu_search import confirm

COLUMNS = [
    *("arm", "origin", "placement", "ratio", "relus", "search_trial", "seed", "state", "epochs"),
    *("test_accuracy", "test_loss", "val_accuracy", "val_loss", "train_loss", "seconds"),
    *("start", "reason"),
]
DIVERGED = "diverged: training loss became nan in epoch 2"

NOISE = {1: 0.001, 2: -0.002, 3: 0.0015, 4: -0.001, 5: 0.002, 6: -0.0005}
NOISE |= {7: 0.001, 8: -0.0015, 9: 0.0005}
LEVELS = {"1*6": 0.1, "01*3": 0.3, "0*6": 0.2, "0+1*5": 0.9, "1*5+0": 0.4}


def confirmed(folder, runner, **options):
    """Confirm a search in this process with two seeds and no racing, unless told otherwise."""
    return confirm(
        folder, **{"seeds": 2, "compute": HERE, "racing": False, **options}, runner=runner
    )


def keys(folder):
    """(arm, seed) of each row of `confirm.csv`."""
    return [(row["arm"], int(row["seed"])) for row in read_rows(folder / "confirm.csv")]


def refuse(*_arguments, **_options):
    raise AssertionError("nothing is left to train")


def levels(placement, seed):
    """Validation accuracies with clear differences; the noise differs from arm to arm."""
    sign = {"1*6": 1, "01*3": -1, "0*6": 1, "0+1*5": -1, "1*5+0": 1}[placement]
    return LEVELS[placement] + sign * NOISE[seed]
