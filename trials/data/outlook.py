"""Whether the test split will fit a training, told in words before anything is trained.

A search asks this, so that a confirmation does not fail hours later. It gets sentences, and no
label or pixel of the split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from search_spaces import InputError
from trials.data.held_out import open_test_split
from trials.data.image_sets import PYTHON, TrainingData
from trials.data.reading.folders import MissingSplitError

_FEW = 4


def outlook_on_test(
    training: TrainingData, *, data_dir: str | Path | None = None, required: bool = False
) -> list[str]:
    """Lines about what a confirmation will miss; none if the test split has all that it needs.

    Checks classes and labels, and the sizes of the images by their headers.

    Args:
        required: a missing test split is an error.

    Raises:
        InputError: there is a test split, but it cannot be used with these training images; or
            there is none, and it is required.
    """
    if training.name.partition(":")[0] == PYTHON:
        return []
    try:
        source, labels = open_test_split(training, data_dir)
    except MissingSplitError as error:
        line = f"there is no test split, which relu-search confirm needs ({error})"
        if required:
            raise InputError(f"{line}; add one, or use relu-search search") from error
        return [f"WARNING: {line}"]
    if not training.resized:
        for where, sides in source.sides():
            if sides != training.image_size:
                raise InputError(
                    f"{where}: the test image is {sides[1]}x{sides[0]} pixels, training images are "
                    f"{training.image_size[1]}x{training.image_size[0]}; give --image-size to "
                    "bring all to one size"
                )
    missing = np.setdiff1d(np.arange(training.num_classes), labels)
    if not len(missing):
        return []
    more = ", ..." if len(missing) > _FEW else ""
    names = ", ".join(f"{training.classes[one]:.40}" for one in missing[:_FEW])
    return [
        f"WARNING: the test split has no image of {len(missing)} of {training.num_classes} "
        f"classes: {names}{more}; relu-search confirm will not test them"
    ]
