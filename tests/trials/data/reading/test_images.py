"""Images of others: named raster formats by content, sizes as decoded, one array."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from search_spaces import InputError
from trials.data.reading import image_arrays
from trials.data.reading import images as module
from trials.data.reading.image_arrays import COPIES
from trials.data.reading.images import FORMATS, decode_images
from trials.data.splits import load_data

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
0 0 8 8 rectfill
showpage
%%EOF
"""


def encoded(form, pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def refuse(*sources):
    with pytest.raises(InputError) as caught:
        decode_images([(source, "x") for source in sources], len(sources))
    return str(caught.value)


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program `gs` that is first in the PATH; the file tells whether it was started."""
    started = tmp_path / "started"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 10.0 | tee -a '{started}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None, raising=False)
    return started


@pytest.mark.parametrize("in_folder", [True, False])
def test_no_image_starts_a_program(ghostscript, in_folder, tmp_path, write_parquet):
    if in_folder:
        for name in "ab":
            (tmp_path / "set" / "train" / name).mkdir(parents=True)
            for number in range(9):
                (tmp_path / "set" / "train" / name / f"{number}.png").write_bytes(EPS)
    else:
        write_parquet(tmp_path / "set" / "train.parquet", [EPS] * 18, [0, 1] * 9)
    kind = "folder" if in_folder else "parquet"
    with pytest.raises(InputError, match="image cannot be decoded"):
        load_data(f"{kind}:{tmp_path / 'set'}")
    assert not ghostscript.exists()


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"JPEG"}))
def test_raster_formats_come_back_pixel_for_pixel(form, random_images):
    pixels = random_images(9, 8, 3)
    options = {"lossless": True} if form == "WEBP" else {}
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if form == "GIF":
        image = image.quantize(64)
        pixels = np.asarray(image.convert("RGB"))
    image.save(buffer, form, **options)
    np.testing.assert_array_equal(decode_images([(buffer.getvalue(), "x")], 1)[0], pixels)


@pytest.mark.parametrize("form", ["EPS", "ICNS", "PCX", "SGI", "TGA", "DDS", "JPEG2000"])
def test_every_other_format_is_refused(form):
    assert "cannot be decoded" in refuse(encoded(form, np.zeros((16, 16, 3), np.uint8)))


def test_an_image_larger_than_announced_sides_is_refused_before_it_is_decoded(recwarn):
    header = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(header, "PNG")
    assert "10000x10000 pixels, more than 4096" in refuse(header.getvalue())
    assert not recwarn.list


def test_an_encoded_image_has_a_largest_size(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(10**11)
    assert "more than" in refuse(tmp_path / "x.png")


def test_images_are_decoded_into_the_array_that_is_returned():
    flat = encoded("PNG", np.zeros((512, 512, 3), np.uint8))
    count, size = 40, 512 * 512 * 3
    tracemalloc.start()
    decode_images(((flat, "x") for _ in range(count)), count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (count + 8) * size


def test_the_largest_memory_of_loading_is_what_the_check_expects(
    tmp_path, write_folder, random_images
):
    some = list(random_images(2, 256, 256, 3)) * 30
    write_folder(tmp_path / "train", {"a": some, "b": some})
    load_data("digits")  # imports what it needs
    tracemalloc.start()
    load_data(f"folder:{tmp_path}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < COPIES * 120 * 256 * 256 * 3 + 2**24


def test_images_that_do_not_fit_are_refused_after_the_first(tmp_path, monkeypatch, write_folder):
    flat = [np.zeros((256, 256, 3), np.uint8)] * 30
    write_folder(tmp_path / "train", {"a": flat, "b": flat})
    opened = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda *what: opened.append(what) or decode(*what))
    monkeypatch.setattr(image_arrays, "memory_limit", lambda: 60 * 256 * 256 * 3 * COPIES - 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(InputError, match=r"60 such images take .* GiB, too much for memory"):
        load_data(f"folder:{tmp_path}", validation_images=2, train_limit=58)
    assert len(opened) == 1


def progressive(side, scans):
    """A flat progressive JPEG whose last scan is repeated until it has so many."""
    buffer = io.BytesIO()
    flat = Image.fromarray(np.full((side, side, 3), 9, np.uint8))
    flat.save(buffer, "JPEG", progressive=True)
    *first, last = buffer.getvalue().removesuffix(b"\xff\xd9").split(b"\xff\xda")
    return b"\xff\xda".join([*first, *[last] * (scans - len(first) + 1)]) + b"\xff\xd9"


def test_a_progressive_jpeg_of_endless_scans_is_refused_before_it_is_decoded():
    assert "70 scans of 4,194,304 pixels" in refuse(progressive(2048, 70))


@pytest.mark.parametrize(("side", "scans"), [(2048, 10), (2048, 60), (64, 1_000)])
def test_an_honest_progressive_jpeg_is_decoded(side, scans):
    images = decode_images([(progressive(side, scans), "x")], 1)
    assert images.shape == (1, side, side, 3)
    assert (images == 9).all()
