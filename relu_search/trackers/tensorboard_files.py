"""TensorBoard: event files in the run folder, one folder for each trial."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

if TYPE_CHECKING:
    from relu_search.trackers.followed import FollowedSearch


class TensorBoardFiles:
    """A `Tracker`; the id of a run is its folder.

    Args:
        folder: of all runs of the search.
        name: of the search.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._writers: dict[str, EventFileWriter] = {}

    def begin(self, key: str, parameters: dict[str, Any], earlier: str | None) -> str:
        name = f"trial-{int(key):04d}" if key.isdigit() else key
        self._writers[key] = EventFileWriter(str(self._folder / name))
        if earlier is None:
            known = {name: value for name, value in parameters.items() if value is not None}
            self._write(key, hparams_pb(known, trial_id=f"{self._name}/{name}"))
            rows = "\n".join(f"| {name} | {value} |" for name, value in known.items())
            self._write(key, text_pb("parameters", f"| | |\n|---|---|\n{rows}"))
            self._writers[key].flush()
        return name

    def epochs(self, key: str, metrics: list[dict[str, float]]) -> None:
        for one in metrics:
            values = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in one.items()
                if name != "epoch"
            ]
            self._write(key, Summary(value=values), int(one["epoch"]))
        self._writers[key].flush()

    def files(self, key: str, files: list[Path]) -> None:
        for file in files:
            if file.suffix == ".json":  # TensorBoard shows no HTML
                text = file.read_text(encoding="utf-8")
                self._write(key, text_pb(file.name, f"```\n{text}\n```"))
            else:
                self._write(key, text_pb(file.name, f"`{file}`"))

    def end(self, key: str, state: str, reason: str) -> None:
        self._write(key, text_pb("state", f"{state}: {reason}" if reason else state))
        self._writers.pop(key).close()

    def _write(self, key: str, summary: Summary, step: int = 0) -> None:
        event = Event(wall_time=time.time(), step=step, summary=summary)
        self._writers[key].add_event(event)


def open_tracker(search: FollowedSearch, folder: Path) -> TensorBoardFiles:
    """The files of a search, in its run folder."""
    return TensorBoardFiles(folder, search.name)
