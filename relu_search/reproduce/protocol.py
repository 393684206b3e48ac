"""The paper's protocol: which split a metric of a reproduction was measured on.

The paper (Section IV, and arXiv:1611.07718) trains on all training images without early stopping,
and reports the test accuracy of the last epoch. There is no validation split. The data of a
reproduction have the test split in its place (`load_paper_protocol`). So the training loop reports
test metrics under the names `val_loss` and `val_accuracy`. `PaperEpoch.of` is the only place that
reads these names; all other code of a reproduction says `test_*`.
"""

from __future__ import annotations

from dataclasses import dataclass

from trials.training.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class PaperEpoch:
    """What is known after an epoch of a reproduction.

    Attributes:
        epoch: 1-based.
        train_loss, train_accuracy: mean cross-entropy in nats and accuracy in 0 to 1, over the
            epoch's augmented images.
        test_loss, test_accuracy: the same on the test split after the epoch, in eval mode.
        seconds: wall time of the epoch.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float

    @classmethod
    def of(cls, metrics: EpochMetrics) -> PaperEpoch:
        """From the metrics of a training on the data of `load_paper_protocol`."""
        return cls(
            epoch=metrics.epoch,
            train_loss=metrics.train_loss,
            train_accuracy=metrics.train_accuracy,
            test_loss=metrics.val_loss,
            test_accuracy=metrics.val_accuracy,
            seconds=metrics.seconds,
        )
