"""Reads whole data sets, and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from search_spaces import InputError
from trials.data.reading.sources import open_source

NOWHERE = Path("nowhere")


@pytest.fixture
def read_all():
    return _read_all


@pytest.fixture
def refuse():
    return _refuse


def _read_all(name: str, split: str = "train", data_dir: Path = NOWHERE):
    source = open_source(name, split, data_dir)
    return source.read(np.arange(len(source.labels))), source


def _refuse(name: str, split: str = "train", data_dir: Path = NOWHERE) -> str:
    """The one line with which a data set is refused, on opening or on reading."""
    with pytest.raises(InputError) as caught:
        _read_all(name, split, data_dir)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.fixture
def good(tmp_path, encode, write_parquet, random_images):
    """A good parquet set to spoil: its folder, encoded images, and a function to rewrite it."""
    encoded = [encode(image) for image in random_images(12, 8, 8, 3)]
    path = tmp_path / "train.parquet"

    def write(images=encoded, labels=(0, 1, 2) * 4):
        write_parquet(path, images, labels if isinstance(labels, pa.Array) else list(labels))

    write()
    return SimpleNamespace(
        name=f"parquet:{tmp_path}", folder=tmp_path, path=path, encoded=encoded, write=write
    )
