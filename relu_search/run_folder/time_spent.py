"""`time.toml`: the seconds that the search and the confirmation of a run have taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import tomli_w

from relu_search.settings.option_files import read_toml
from search_spaces import InputError
from trials.files.durable import write_whole

FILE = "time.toml"
Work = Literal["search", "confirm", "reproduce"]
"""Work that has a time budget."""


def time_spent(folder: Path, work: Work) -> float:
    """Seconds that earlier processes took for this work, up to their last finished epoch.

    Raises:
        InputError: the file is damaged.
    """
    return _times(folder / FILE).get(work, 0.0)


def save_time(folder: Path, work: Work, seconds: float) -> None:
    """Write the seconds of all processes so far.

    Raises:
        StorageError: the disk refuses.
    """
    times = _times(folder / FILE) | {work: round(seconds, 1)}
    write_whole(folder / FILE, tomli_w.dumps(times))


def _times(file: Path) -> dict[str, float]:
    times = read_toml(file) if file.is_file() else {}
    for work, seconds in times.items():
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise InputError(
                f"{file} has {work} = {seconds!r:.40}, no number of seconds; the file is damaged: "
                "correct it, or remove it to start the time budget again"
            )
    return times
