"""Where the trials of a run keep their weights and checkpoints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trials.data.splits import TrainingData
from trials.files.durable import remove_partial_files, storage_errors
from trials.files.paths import user_path
from trials.training.checkpoint import Checkpoint
from trials.training.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class TrialFiles:
    """Two folders of a run; None: nothing of the kind is kept.

    Attributes:
        weights: weights of the trials that trained to the end, `trial-NUMBER.safetensors`.
        checkpoints: of the trials that are running, named by what is trained on what, so that a
            run that goes on finds them whatever their number.
        exchange: URL of a folder for both on the way between nodes that do not see the run's own
            folders; None: they do.
    """

    weights: Path | None = None
    checkpoints: Path | None = None
    exchange: str | None = None

    def through(self, exchange: str | None, name: str) -> TrialFiles:
        """These files, travelling through a folder of that name in an exchange, if there is one."""
        if exchange is None:
            return self
        base = exchange if "://" in exchange else str(user_path(exchange).absolute())
        return replace(self, exchange=f"{base.rstrip('/')}/{name}")

    def make_folders(self) -> None:
        """Make what is missing, and remove what a killed worker left half-written.

        Raises:
            StorageError: the disk refuses.
        """
        for folder in filter(None, (self.weights, self.checkpoints)):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                remove_partial_files(folder)

    def weights_of(self, number: int) -> Path | None:
        return None if self.weights is None else self.weights / f"trial-{number:04d}.safetensors"

    def checkpoint_of(self, spec: TrialSpec, data: TrainingData) -> Checkpoint | None:
        """The checkpoint of a training; it fits only this spec on just these images."""
        if self.checkpoints is None:
            return None
        key = _digest(spec.to_json(), data.name, data.split_digest, len(data.train))
        return Checkpoint(self.checkpoints / self.checkpoint_name(spec, data.name), key)

    def remove_checkpoint(self, spec: TrialSpec, data_name: str) -> None:
        """The training has ended and is recorded; nobody needs to go on with it."""
        if self.checkpoints is not None:
            path = self.checkpoints / self.checkpoint_name(spec, data_name)
            with storage_errors(path):
                path.unlink(missing_ok=True)

    @staticmethod
    def checkpoint_name(spec: TrialSpec, data_name: str) -> str:
        return f"{_digest(spec.to_json(), data_name)[:32]}.safetensors"


NO_FILES = TrialFiles()


def _digest(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
