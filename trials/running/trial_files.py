"""Where the weights and checkpoints of the trials of a run are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trials.data.image_sets import TrainingData
from trials.files.durable import remove_partial_files, storage_errors
from trials.files.paths import user_path
from trials.training.checkpoint import Checkpoint
from trials.training.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class TrialFiles:
    """Two folders of a run; None: such files are not written.

    Attributes:
        weights: of the trials that trained to the end, `trial-NUMBER.safetensors`.
        checkpoints: of the running trials. A name depends on spec and data, not on the number of
            the trial, so that a resumed run finds its checkpoints.
        exchange: URL of a folder through which both are copied between nodes that do not see the
            run's own folders; None: all nodes see them.
    """

    weights: Path | None = None
    checkpoints: Path | None = None
    exchange: str | None = None

    def through(self, exchange: str | None, name: str) -> TrialFiles:
        """The same files, copied through the folder `name` of an exchange, if there is one."""
        if exchange is None:
            return self
        base = exchange if "://" in exchange else str(user_path(exchange).absolute())
        return replace(self, exchange=f"{base.rstrip('/')}/{name}")

    def make_folders(self) -> None:
        """Make the folders, and remove the half-written files of killed workers.

        Raises:
            StorageError: the disk refuses.
        """
        for folder in filter(None, (self.weights, self.checkpoints)):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                remove_partial_files(folder)

    def weights_of(self, number: int) -> Path | None:
        """The weights file of a trial."""
        return None if self.weights is None else self.weights / f"trial-{number:04d}.safetensors"

    def checkpoint_of(self, spec: TrialSpec, data: TrainingData) -> Checkpoint | None:
        """The checkpoint of a training; its key holds for this spec and these images only."""
        if self.checkpoints is None:
            return None
        images = [data.name, data.split_digest, len(data.train)]
        images += [] if data.augment is None else [data.augment]
        images += [[data.mean, data.std]] if data.own_statistics else []
        key = _digest(spec.to_json(), *images)
        return Checkpoint(self.checkpoints / self.checkpoint_name(spec, data.name), key)

    def remove_checkpoint(self, spec: TrialSpec, data_name: str) -> None:
        """Remove the checkpoint of a training that has ended and is recorded."""
        if self.checkpoints is not None:
            path = self.checkpoints / self.checkpoint_name(spec, data_name)
            with storage_errors(path):
                path.unlink(missing_ok=True)

    @staticmethod
    def checkpoint_name(spec: TrialSpec, data_name: str) -> str:
        """File name: a digest of the spec's JSON and the data's name. Old runs rely on it."""
        return f"{_digest(spec.to_json(), data_name)[:32]}.safetensors"


NO_FILES = TrialFiles()


def _digest(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
