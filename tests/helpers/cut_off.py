"""Real trainings in a process that ends after a chosen epoch."""

from __future__ import annotations

import pandas as pd

from trials.running.trial import run_trial


class CutOff(BaseException):
    """The process ends here."""


class Watch:
    """Trains for real, counts the trained epochs, and ends the process after one of them."""

    def __init__(self, end_after=None):
        self.end_after = end_after
        self.trained = 0

    def __call__(self, spec, data, *, checkpoint, on_epoch, **options):
        known = len(checkpoint._read()[1]) if checkpoint.path.exists() else 0

        def heard(metrics):
            if metrics.epoch > known:  # those of the checkpoint are only reported again
                self.trained += 1
                if self.trained == self.end_after:
                    raise CutOff
            on_epoch(metrics)

        return run_trial(spec, data, checkpoint=checkpoint, on_epoch=heard, **options)


def table(path):
    """The rows of a table in any order, wall times aside."""
    rows = pd.read_csv(path).drop(columns="seconds", errors="ignore").to_dict("records")
    return sorted(map(str, rows))
