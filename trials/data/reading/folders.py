"""Images in folders, one for each class: torchvision's ImageFolder layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from search_spaces import InputError
from trials.data.reading.images import EXTENSIONS, first_line
from trials.files.given import files_under
from trials.files.paths import readable

_RUBBISH = {
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "desktop.ini", "__pycache__"),
}
"""Folders and files that operating systems and programs leave beside images."""


class MissingSplitError(InputError):
    """There is no file of a split."""


def is_rubbish(name: str) -> bool:
    """Whether a file or folder belongs to a system or a program, not to a data set."""
    return name.startswith(".") or name.lower() in _RUBBISH


def class_folders(folder: Path, split: str) -> tuple[tuple[str, ...], list[list[Path]], int]:
    """The names of the classes, the images of each, and how many names were skipped.

    Raises:
        InputError: no such folder, no class, or a class without images.
    """
    skipped = 0

    def is_wanted(name: str) -> bool:
        nonlocal skipped
        skipped += is_rubbish(name)
        return not is_rubbish(name)

    try:
        folders = sorted(
            path for path in (folder / split).iterdir() if path.is_dir() and is_wanted(path.name)
        )
        if not folders:
            raise OSError("it has no sub-folder")
        images = [_images_of(one, is_wanted) for one in folders]
    except OSError as error:
        kind = InputError if (folder / split).is_dir() else MissingSplitError
        raise kind(
            f"{folder / split} is not an image folder ({first_line(error)}); it needs one "
            "sub-folder of images for each class"
        ) from error
    return tuple(readable(one.name) for one in folders), images, skipped


def _images_of(folder: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    files = files_under(folder, is_wanted)
    images = [path for path in files if path.name.lower().endswith(EXTENSIONS)]
    if not images:
        raise OSError(f"no image in {folder.name}")
    return images
