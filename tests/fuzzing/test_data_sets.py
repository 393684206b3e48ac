"""Data sets that someone has been at: images or one clear line, and no program is started."""

from __future__ import annotations

import io
import os
import shutil
import stat
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.hostile import FEW, MANY, clean, corrupted, make_odd, names, odd_files
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trials.data.splits import load_data

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
OTHERS = ("EPS", "PDF", "ICNS", "ICO", "PCX", "SGI", "TGA", "DDS", "JPEG2000", "SPIDER", "MSP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"0 0 8 8 rectfill showpage\n%%EOF\n"
)


def encode(form, mode="RGB", size=(8, 8)):
    """An image file of this format, or bytes that only look like one."""
    buffer = io.BytesIO()
    try:
        Image.new(mode, size).save(buffer, form)
    except (OSError, KeyError, ValueError):  # not every format has every mode
        return EPS
    return buffer.getvalue()


@st.composite
def images(draw):
    """The bytes of an image file: any format, mode and size, whole or damaged."""
    form = draw(st.sampled_from((*FORMATS, *OTHERS)))
    size = draw(st.sampled_from([(8, 8), (8, 8), (9, 7), (1, 1), (5000, 1), (4096, 1)]))
    content = encode(form, draw(st.sampled_from(MODES)), size)
    if draw(st.booleans()):
        content = draw(corrupted(content))
    return draw(st.sampled_from([content, content, EPS, b"", content + bytes(100_000)]))


KINDS = (
    *(pa.binary(), pa.large_binary(), pa.string(), pa.int32(), pa.bool_(), pa.list_(pa.uint8())),
    *(pa.struct([("a", pa.binary())]), pa.float64(), pa.binary(8), pa.timestamp("s")),
    *(pa.dictionary(pa.int8(), pa.binary()), pa.dictionary(pa.int32(), pa.string())),
)
LABELS = (pa.int64(), pa.int8(), pa.uint64(), pa.float32(), pa.string(), pa.bool_(), pa.date32())
ENCODINGS = ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
COMPRESSIONS = ("none", "snappy", "gzip", "zstd", "brotli", "lz4")


def _array(values, kind):
    """Values as an array of a type, or as what they are where the type has no such values."""
    try:
        return pa.array(values, pa.binary()).cast(kind)
    except pa.ArrowException:
        pass
    try:
        return pa.array([i % 2 for i in range(len(values))]).cast(kind)
    except pa.ArrowException:
        return pa.nulls(len(values), kind)


@st.composite
def parquet_files(draw):
    """The bytes of a parquet file: types, encodings, repeated large values, lies, damage."""
    rows = draw(st.sampled_from([0, 12, 12, 12, 60, 20_000]))
    content = draw(st.one_of(images(), st.sampled_from(FORMATS).map(encode)))
    large = draw(st.integers(0, 3)) == 0
    if large:
        content += bytes(draw(st.sampled_from([10**5, 10**6])))
    values = [content] * rows
    if rows == 20_000 and len(content) > 10_000:  # one value for all rows
        index = pa.array(np.zeros(rows, np.int32))
        column = pa.DictionaryArray.from_arrays(index, pa.array([content], pa.binary()))
    else:
        column = _array(values, draw(st.sampled_from([pa.binary(), *KINDS])))
    name = draw(st.sampled_from(["bytes", "bytes", "bytes", "data"]))
    image = pa.StructArray.from_arrays([column], [name])
    if draw(st.integers(0, 9)) == 0:
        image = column
    label = pa.array([i % 3 for i in range(rows)]).cast(pa.int64())
    kind = draw(st.sampled_from([pa.int64(), *LABELS]))
    try:
        label = label.cast(kind)
    except pa.ArrowException:
        label = pa.nulls(rows, kind)
    table = pa.table({"img": image, "label": label})
    how = {"compression": draw(st.sampled_from(COMPRESSIONS)), "row_group_size": 5_000}
    if draw(st.booleans()) and isinstance(column, pa.BinaryArray) and name == "bytes":
        field = "img" if image is column else "img.bytes"
        encoding = {field: draw(st.sampled_from(ENCODINGS))}
        how |= {"use_dictionary": False, "column_encoding": encoding}
    buffer = io.BytesIO()
    try:
        pq.write_table(table, buffer, **how)
    except pa.ArrowException:
        return content
    if draw(st.integers(0, 3)) == 0:
        return draw(corrupted(buffer.getvalue()))
    return buffer.getvalue()


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program `gs` that is first in the PATH; the file tells whether it was started."""
    started = tmp_path / "started"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 10.0 | tee -a '{started}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return started


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "train").mkdir(parents=True)
    return folder / "train"


def fuzz(how: settings, folder):
    good = encode("PNG")

    @how
    @given(st.lists(images(), min_size=1, max_size=3))
    def pictures(contents):
        train = fresh(folder)
        for name in "ab":
            (train / name).mkdir()
            for number in range(12):
                content = contents[number % len(contents)]
                (train / name / f"{number}.png").write_bytes(content)
        clean(lambda: load_data(f"folder:{folder}"))

    @how
    @given(parquet_files())
    def tables(content):
        fresh(folder)
        (folder / "train.parquet").write_bytes(content)
        clean(lambda: load_data(f"parquet:{folder}"))

    @how
    @given(names, names, odd_files, st.sampled_from(["set", "class", "file", "inner"]))
    def entries(class_name, file_name, kind, where):
        train = os.fsencode(fresh(folder))
        for name in {class_name, b"b"}:
            os.mkdir(os.path.join(train, name))
            for number in range(12):
                path = os.path.join(train, name, b"%d" % number + file_name[:200] + b".png")
                with open(path, "wb") as file:
                    file.write(good)
        place = {"set": "", "class": "b", "file": "b/0.png", "inner": "b/more"}[where]
        make_odd(folder / "train" / place, kind)
        clean(lambda: load_data(f"folder:{folder}"))
        fresh(folder)
        make_odd(folder / "train.parquet", kind)
        clean(lambda: load_data(f"parquet:{folder}"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of formats that Pillow writes
        pictures()
        tables()
        entries()


def test_hostile_data_sets(ghostscript, tmp_path):
    fuzz(settings(FEW, max_examples=25), tmp_path / "set")
    assert not ghostscript.exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_hostile_data_sets(ghostscript, tmp_path):
    fuzz(settings(MANY, max_examples=300), tmp_path / "set")
    assert not ghostscript.exists()
