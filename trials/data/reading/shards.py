"""Which parquet files make up a split: one file, or every shard of one upload exactly once."""

from __future__ import annotations

import re
from pathlib import Path

from search_spaces import InputError
from trials.data.reading.folders import MissingSplitError

_SHARD = re.compile(r"-([0-9]{1,9})-of-([0-9]{1,9})(-[0-9a-f]+)?\.parquet")
"""What follows the name of the split, as the Hugging Face hub writes it."""


def split_files(folder: Path, split: str) -> tuple[Path, ...]:
    """The files of a split, with the rows in this order.

    They are in the folder, in its sub-folder `data`, or in the only sub-folder that has some, as in
    a clone of a repository of the hub.

    Raises:
        MissingSplitError: there are none.
        InputError: they are not each shard of one upload exactly once.
    """
    children = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    within = [path for path in children if _candidates(path, split)]
    places = [folder, folder / "data", *(within if len(within) == 1 else [])]
    found = next((files for place in places if (files := _candidates(place, split))), [])
    if not found:
        several = f"; several of its folders have some: {_names(within)}" if within else ""
        raise MissingSplitError(
            f"no {split}.parquet (or {split}-*.parquet) in {folder}{several}; put the split there, "
            "in the image layout of the Hugging Face hub"
        )
    _check(found, split)
    return tuple(found)


def _candidates(folder: Path, split: str) -> list[Path]:
    return sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])


def _check(files: list[Path], split: str) -> None:
    folder = files[0].parent
    parts = [_SHARD.fullmatch(file.name.removeprefix(split)) for file in files]
    if len(files) == 1 and parts[0] is None and "-of-" not in files[0].name:
        return
    shards = [part for part in parts if part is not None]
    is_numbered = any("-of-" in file.name for file in files)
    if not shards and not is_numbered and folder / f"{split}.parquet" not in files:
        return  # shards named by another rule
    others = [file for file, part in zip(files, parts, strict=True) if part is None]
    if others:
        raise InputError(
            f"{folder} has {_names(others)} among its {split} files, which is no shard; keep only "
            "the files of one upload"
        )
    totals, uploads = {part[2] for part in shards}, {part[3] for part in shards}
    if len(totals) > 1 or len(uploads) > 1:
        raise InputError(
            f"{folder} has {split} files of several uploads: {_names(files)}; keep those of one"
        )
    total, numbers = int(shards[0][2]), sorted(int(part[1]) for part in shards)
    if total != len(files):
        raise InputError(
            f"{folder} holds {len(files)} of the {total} {split} files that {files[0].name} "
            "announces; fetch the missing ones"
        )
    if numbers not in (list(range(total)), list(range(1, total + 1))):
        raise InputError(
            f"{folder} has the {split} shards {', '.join(map(str, numbers[:8]))}, and {total} are "
            "announced; each one is needed exactly once"
        )


def _names(files: list[Path]) -> str:
    more = ", ..." if len(files) > 4 else ""
    return ", ".join(file.name for file in files[:4]) + more
