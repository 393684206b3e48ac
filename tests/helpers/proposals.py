"""A proposer that hands out a list of trials and records what it is told."""

from __future__ import annotations

from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics


class Proposals:
    """Hands out trials and records what it is told; trial 0 is protected."""

    def __init__(self, specs):
        self.specs = list(specs)
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

    def conclude(self, number, failure):
        assert number not in self.ended
        self.ended[number] = failure
