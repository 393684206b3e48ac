"""How well does one candidate train, and how are many trials run? Only `trials.on_ray` uses Ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.data.image_sets import TrainingData as TrainingData
    from trials.data.splits import load_data as load_data
    from trials.fine_tuning.weights import StartingWeights as StartingWeights
    from trials.fine_tuning.weights import read_weights as read_weights
    from trials.running.trial import TrialResult as TrialResult
    from trials.running.trial import run_trial as run_trial
    from trials.training.loop import train as train
    from trials.training.metrics import EpochMetrics as EpochMetrics
    from trials.training.recipe import FineTuning as FineTuning
    from trials.training.recipe import Recipe as Recipe
    from trials.training.spec import TrialSpec as TrialSpec

_HOME = {
    "TrainingData": "data.image_sets",
    "load_data": "data.splits",
    "Recipe": "training.recipe",
    "EpochMetrics": "training.metrics",
    "train": "training.loop",
    "TrialResult": "running.trial",
    "TrialSpec": "training.spec",
    "FineTuning": "training.recipe",
    "StartingWeights": "fine_tuning.weights",
    "read_weights": "fine_tuning.weights",
    "run_trial": "running.trial",
}

__all__ = [
    "EpochMetrics",
    "FineTuning",
    "Recipe",
    "StartingWeights",
    "TrainingData",
    "TrialResult",
    "TrialSpec",
    "load_data",
    "read_weights",
    "run_trial",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"trials.{_HOME[name]}"), name)
    raise AttributeError(f"module 'trials' has no attribute {name!r}")
