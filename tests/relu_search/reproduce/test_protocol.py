"""Metrics of a reproduction have the names of what they measure."""

from __future__ import annotations

from dataclasses import asdict

from relu_search.reproduce.protocol import PaperEpoch
from trials.training.metrics import EpochMetrics


def test_what_the_training_loop_calls_validation_is_the_test_split():
    numbers = {"epoch": 3, "train_loss": 0.5, "train_accuracy": 0.9, "seconds": 1.5}
    metrics = EpochMetrics(**numbers, val_loss=0.7, val_accuracy=0.8)
    assert asdict(PaperEpoch.of(metrics)) == {**numbers, "test_loss": 0.7, "test_accuracy": 0.8}
