"""When a trial is stopped early, as plain data.

ASHA decides which trials it would stop: Ray's (`trials.on_ray.asha`), or with several objectives
`pareto_halving`. `rung_evidence` decides whether they may be stopped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Signal = Literal["train-loss-sum", "train-loss", "val-loss", "val-accuracy"]
"""What is compared at a rung. `train-loss-sum` is the sum over the epochs so far (training speed
estimation, arXiv:2006.04492)."""
SIGNALS: tuple[Signal, ...] = get_args(Signal)
AUDITED = 0.1
"""Share of the trials that would be stopped which train to the end all the same."""


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Asynchronous successive halving (ASHA, arXiv:1810.05934); rungs are counted in epochs.

    Attributes:
        metric, mode: what counts after the last epoch, and whether larger or smaller is better.
        max_epochs: full length of a trial.
        grace_epochs: no trial is stopped before this epoch.
        reduction_factor: about one trial in this many passes a rung that stops trials.
        signal: what is compared at a rung.
        seed: draws the audits.
        on_audit: is told the number of a trial and the epoch after which it would have been
            stopped, had it not been drawn as an audit.
    """

    metric: str
    mode: Literal["max", "min"]
    max_epochs: int
    grace_epochs: int
    reduction_factor: float = 4
    signal: Signal = "train-loss-sum"
    seed: int = 0
    on_audit: Callable[[int, int], None] = lambda _number, _epoch: None

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trials are compared, in order.

        ASHA's milestones are `grace_epochs * reduction_factor**k`; with a fraction as factor a
        milestone is reached at the end of the epoch in which it lies.
        """
        every = (math.ceil(self.grace_epochs * self.reduction_factor**k) for k in itertools.count())
        return tuple(dict.fromkeys(itertools.takewhile(lambda r: r < self.max_epochs, every)))

    def is_audit(self, number: int) -> bool:
        """Whether a trial trains to the end even if it would be stopped."""
        return bool(np.random.default_rng([self.seed, number]).random() < AUDITED)


def signal_value(signal: Signal, history: Sequence[Mapping[str, float]]) -> float:
    """The signal after the last of some epochs; smaller is better.

    Args:
        signal: its name.
        history: metrics of all epochs so far, the first one included.
    """
    if signal == "train-loss-sum":
        return math.fsum(epoch["train_loss"] for epoch in history)
    value = history[-1][signal.replace("-", "_")]
    return -value if signal == "val-accuracy" else value


@dataclass(frozen=True, kw_only=True)
class PastTrial:
    """A trial of an earlier process. A resumed run fills its rungs with these.

    Attributes:
        number: of its `Proposal`.
        placement: text of the placement.
        history: metrics of its epochs, beginning with the first.
        costs: those of its `Proposal`.
    """

    number: int
    placement: str
    history: Sequence[Mapping[str, float]]
    costs: tuple[float, ...] = ()
