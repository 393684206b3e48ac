"""The metrics of an epoch, and the error of a training that diverges."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """Metrics of a training after an epoch.

    Attributes:
        epoch: 1-based.
        train_loss: mean cross-entropy in nats over the epoch's augmented images, each with the
            weights of its own step.
        train_accuracy: of the same predictions, 0 to 1.
        val_loss, val_accuracy: on the validation split after the epoch, in eval mode.
        seconds: wall time of this epoch with its validation.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


class NonFiniteLossError(RuntimeError):
    """Training diverged: a loss became infinite or NaN."""

    def __init__(self, epoch: int, what: str, value: float) -> None:
        super().__init__(f"{DIVERGED}: {what} became {value} in epoch {epoch}")
        self.epoch = epoch


def require_finite(epoch: int, what: str, value: float) -> None:
    """Check a loss.

    Raises:
        NonFiniteLossError: the value is infinite or NaN.
    """
    if not math.isfinite(value):
        raise NonFiniteLossError(epoch, what, value)


DIVERGED = "diverged"
"""First word of the failure of a training whose loss became infinite or NaN."""
