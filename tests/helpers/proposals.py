"""A proposer that hands out a list of trials and records what it is told."""

from __future__ import annotations

from trials.early_stopping.rule import PastTrial
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics


def better_trials(count, epochs):
    """Past trials whose first losses are small and predict their last ones: a rung is trusted."""
    return [
        PastTrial(
            number=number,
            placement=str(number),
            history=[
                {"epoch": epoch, "train_loss": number / 1e6, "val_loss": number / 1e6}
                for epoch in range(1, epochs + 1)
            ],
        )
        for number in range(1000, 1000 + count)
    ]


class Proposals:
    """Hands out trials and records what it is told; trial 0 is protected.

    Args:
        cut_off: number of a trial -> epoch at which it must end; a later run goes on with it.
    """

    def __init__(self, specs, *, cut_off=None):
        self.specs = list(specs)
        self.cut_off = cut_off or {}
        self.epochs = {}
        self.ended = {}
        self.most_open = 0

    def propose(self):
        number = len(self.epochs)
        if number == len(self.specs):
            return None
        self.epochs[number] = []
        self.most_open = max(self.most_open, len(self.epochs) - len(self.ended))
        return Proposal(number=number, spec=self.specs[number], protected=number == 0)

    def observe(self, number, metrics: EpochMetrics):
        assert number not in self.ended
        self.epochs[number].append(metrics.epoch)
        return self.cut_off.get(number) == metrics.epoch

    def conclude(self, number, failure):
        assert number not in self.ended
        self.ended[number] = failure
        return number not in self.cut_off
