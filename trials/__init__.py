"""How good is one candidate, and how are many run? Ray is imported in `trials.scheduling` alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.data import TrainingData as TrainingData
    from trials.data import load_data as load_data
    from trials.recipe import Recipe as Recipe
    from trials.training import EpochMetrics as EpochMetrics
    from trials.training import train as train
    from trials.trial import TrialResult as TrialResult
    from trials.trial import TrialSpec as TrialSpec
    from trials.trial import run_trial as run_trial

_HOME = {
    "TrainingData": "data",
    "load_data": "data",
    "Recipe": "recipe",
    "EpochMetrics": "training",
    "train": "training",
    "TrialResult": "trial",
    "TrialSpec": "trial",
    "run_trial": "trial",
}

__all__ = [
    "EpochMetrics",
    "Recipe",
    "TrainingData",
    "TrialResult",
    "TrialSpec",
    "load_data",
    "run_trial",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"trials.{_HOME[name]}"), name)
    raise AttributeError(f"module 'trials' has no attribute {name!r}")
