"""Writers of small data sets in the layouts that users bring."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from trials.training.loop import drop_device_data


@pytest.fixture
def encode():
    """uint8 (H, W, 1 or 3) -> the bytes of an image file."""

    def encode(pixels, kind="PNG"):
        buffer = io.BytesIO()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
        return buffer.getvalue()

    return encode


@pytest.fixture
def write_parquet():
    """Encoded images and labels -> a parquet file in the hub's image layout."""

    def write(path, encoded, labels, *, image_column="img", label_column="label"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = [{"bytes": data, "path": None} for data in encoded]
        columns = {image_column: pa.array(rows, file_type), label_column: labels}
        pq.write_table(pa.table(columns), path)

    return write


@pytest.fixture
def write_folder(encode):
    """{class name: images} -> one split in torchvision's ImageFolder layout."""

    def write(split, classes, kind="PNG"):
        for name, images in classes.items():
            (split / name).mkdir(parents=True)
            for number, pixels in enumerate(images):
                (split / name / f"{number:03}.{kind.lower()}").write_bytes(encode(pixels, kind))

    return write


@pytest.fixture
def random_images():
    """A seeded draw of uint8 images of the given shape."""

    def draw(*shape, seed=0):
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return draw


@pytest.fixture
def pinned(monkeypatch):
    """Shapes of all that is pinned for uploads. No GPU is needed: the device is `meta`."""
    shapes = []

    def pin(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    drop_device_data()
    yield shapes
    drop_device_data()
