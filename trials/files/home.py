"""A place for the files that libraries keep in the home folder, where that cannot be used."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
from pathlib import Path

from trials.files.scratch import scratch_folder


def provide_home() -> None:
    """Set what this process and its children need to work without a writable home folder.

    Ray Tune cannot be imported if there is neither `HOME` nor an entry for the user among the
    system's users. Then `HOME` is set to a private folder, which is removed when the process ends.
    A home folder that is read-only stays, because it may hold settings. Matplotlib then writes to
    the private folder.
    """
    try:
        home = Path.home()
    except RuntimeError:
        home = _private_folder()
        os.environ["HOME"] = str(home)
    if not is_writable(home):
        os.environ.setdefault("MPLCONFIGDIR", str(_private_folder()))


def is_writable(folder: Path) -> bool:
    """Whether this process can make files in a folder, or make the folder."""
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:
        return False


@functools.cache
def _private_folder() -> Path:
    folder = contextlib.ExitStack()
    atexit.register(folder.close)
    return folder.enter_context(scratch_folder())
