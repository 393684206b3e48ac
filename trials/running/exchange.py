"""An exchange: a folder, given by URL, for the files of trials where nodes share no disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec

from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.files.durable import StorageError
from trials.files.scratch import scratch_folder
from trials.running.trial_files import TrialFiles
from trials.training.checkpoint import Checkpoint
from trials.training.spec import TrialSpec


@dataclass(frozen=True)
class Exchange:
    """A folder on any file system that fsspec knows, such as `s3://bucket/runs`.

    Files keep their names. A file appears whole or not at all.
    """

    url: str

    def push(self, file: Path) -> None:
        """Copy a local file to the exchange.

        Raises:
            StorageError: the exchange refuses.
        """
        with self._errors(file.name):
            system, folder = fsspec.core.url_to_fs(self.url)
            system.makedirs(folder, exist_ok=True)
            partial = f"{folder}/.{file.name}.partial"
            system.put_file(str(file), partial)
            system.mv(partial, f"{folder}/{file.name}")

    def pull(self, file: Path) -> bool:
        """Copy the file of that name from the exchange; False if there is none.

        Raises:
            StorageError: the exchange does not answer, or the local disk refuses.
        """
        with self._errors(file.name):
            system, folder = fsspec.core.url_to_fs(self.url)
            source = f"{folder}/{file.name}"
            if not system.exists(source):
                return False
            system.get_file(source, str(file))
            return True

    def remove(self, name: str) -> None:
        """Remove the file of that name from the exchange, if there is one.

        Raises:
            StorageError: the exchange refuses.
        """
        with self._errors(name):
            system, folder = fsspec.core.url_to_fs(self.url)
            if system.exists(f"{folder}/{name}"):
                system.rm_file(f"{folder}/{name}")

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every file system has its own exceptions
            raise StorageError(f"{self.url}/{name} cannot be reached: {error}") from error


def check_exchange(url: str | None) -> None:
    """Write, read and remove a test file in the exchange, before a run starts.

    Raises:
        InputError: no file system for such a URL, or it refuses.
    """
    if url is None:
        return
    last = url.rpartition("::")[2]  # of a chain such as simplecache::s3://bucket/folder
    if not (last.partition("://")[2] if "://" in last else last).strip():
        raise InputError(
            f"exchange {url!r:.200} names no folder; give a folder that all nodes see, or a URL "
            "such as s3://bucket/folder"
        )
    with scratch_folder() as scratch:
        probe = scratch / "relu-search-probe"
        probe.write_text("probe")
        try:
            Exchange(url).push(probe)
            Exchange(url).pull(probe)
            Exchange(url).remove(probe.name)
        except StorageError as error:
            raise InputError(
                f"exchange {url!r} cannot be used ({error}); give a folder that all nodes see, or "
                "a URL such as s3://bucket/folder whose fsspec package is installed"
            ) from error


@dataclass(frozen=True, kw_only=True)
class WorkerFiles:
    """The files of one trial on the node of its worker.

    Attributes:
        weights, checkpoint: where to write; None: not written.
        exchange: where the files are copied after each epoch; None: not copied.
    """

    weights: Path | None
    checkpoint: Checkpoint | None
    exchange: Exchange | None

    def publish(self) -> None:
        """Copy the files to the exchange, so that they survive the loss of this node.

        Raises:
            StorageError: the exchange refuses.
        """
        if self.exchange is None:
            return
        for path in (self.weights, self.checkpoint.path if self.checkpoint else None):
            if path is not None and path.exists():
                self.exchange.push(path)


@contextlib.contextmanager
def worker_files(
    files: TrialFiles, number: int, spec: TrialSpec, data: TrainingData
) -> Iterator[WorkerFiles]:
    """The files of a trial in a worker: in the run's folders, or local ones with an exchange.

    Raises:
        StorageError: the exchange does not answer.
    """
    with contextlib.ExitStack() as stack:
        exchange = None
        if files.exchange is not None:
            exchange = Exchange(files.exchange)
            scratch = stack.enter_context(scratch_folder())
            files = replace(
                files,
                weights=scratch / "weights" if files.weights else None,
                checkpoints=scratch / "checkpoints" if files.checkpoints else None,
            )
            files.make_folders()
        checkpoint = files.checkpoint_of(spec, data)
        if exchange is not None and checkpoint is not None:
            exchange.pull(checkpoint.path)
        yield WorkerFiles(
            weights=files.weights_of(number), checkpoint=checkpoint, exchange=exchange
        )


def take_over(files: TrialFiles, number: int) -> None:
    """Move the weights of a trial that has ended, if any, from the exchange into the run."""
    weights = files.weights_of(number)
    if files.exchange is not None and weights is not None:
        Exchange(files.exchange).pull(weights)
        Exchange(files.exchange).remove(weights.name)


def forget(files: TrialFiles, spec: TrialSpec, data_name: str) -> None:
    """Remove the checkpoints, here and in the exchange, of a trial that is recorded."""
    files.remove_checkpoint(spec, data_name)
    if files.exchange is not None:
        Exchange(files.exchange).remove(files.checkpoint_name(spec, data_name))
