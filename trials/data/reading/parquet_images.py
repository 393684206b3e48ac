"""Images and labels in parquet files, read in small batches.

A small file can hold one large value many times, and announce its size once. So each batch becomes
pixels before the next one is read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from search_spaces.errors import printable
from trials.data.reading.image_arrays import Images
from trials.data.reading.images import decode_images, first_line, image_sides
from trials.files.given import MOST_FILES, open_given

_IMAGE_COLUMNS, _LABEL_COLUMNS = ("img", "image"), ("label", "fine_label", "labels")
_LABEL_BATCH, _IMAGE_BATCH = 65_536, 16  # rows
_BATCH_BYTES = 2**30  # of encoded images, if every row is as large as the column announces
_BUFFER = 2**20  # bytes read at once from a file
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class ParquetImages:
    """One split in the image layout of the Hugging Face hub.

    Each row has a struct with the encoded image in its field `bytes`, and a label.

    Attributes:
        files: with the rows in this order.
        name: of the split, for messages.
    """

    files: tuple[Path, ...]
    name: str

    def labels(self) -> NDArray[np.int64]:
        """The labels of all rows, (N,).

        Raises:
            InputError: a file is damaged, has other columns, or has too many rows.
        """
        parts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        rows = 0
        for file in self.files:
            with self._opened(file) as (parquet, _, label):
                for batch in parquet.iter_batches(batch_size=_LABEL_BATCH, columns=[label]):
                    column = batch.column(0)
                    self._require_whole(label, column)
                    rows += len(column)
                    if rows > MOST_FILES:
                        raise InputError(
                            f"{self.name}: more than {MOST_FILES:,} rows; use a smaller data set"
                        )
                    parts.append(column.to_numpy(zero_copy_only=False).astype(np.int64))
        return np.concatenate(parts)

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes that the first file keeps in its metadata; None: it has none.

        Raises:
            InputError: the file is damaged or has other columns.
        """
        with self._opened(self.files[0]) as (parquet, _, label):
            metadata = parquet.schema_arrow.metadata or {}
            try:
                features = json.loads(metadata[b"huggingface"])["info"]["features"]
                names = features[label]["names"]
            except (KeyError, TypeError, ValueError, RecursionError):
                return None
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return tuple(printable(name) for name in names) if is_list and names else None

    def sides(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The name of each image, and its (height, width), from its header.

        Raises:
            InputError: a file is damaged, or an image cannot be opened.
        """
        for encoded, where in self._encoded(np.arange(len(self.labels()))):
            yield where, image_sides(encoded, where)

    def read(
        self,
        rows: NDArray[np.int64],
        *,
        size: int | None = None,
        channels: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> Images:
        """The images of these rows, uint8 (n, H, W, C); the options are those of `decode_images`.

        Raises:
            InputError: a file is damaged or has changed, or an image cannot be decoded.
        """
        wanted = np.unique(rows)
        images = decode_images(
            self._encoded(wanted), len(wanted), size=size, channels=channels, say=say
        )
        return images if np.array_equal(wanted, rows) else images[np.searchsorted(wanted, rows)]

    def _encoded(self, wanted: NDArray[np.int64]) -> Iterator[tuple[bytes, str]]:
        """The encoded images of these rows, given in increasing order, and their names."""
        start, found = 0, 0
        for file in self.files:
            with self._opened(file) as (parquet, image, _):
                field, size = f"{image}.bytes", _batch_size(parquet, image)
                for batch in parquet.iter_batches(batch_size=size, columns=[field]):
                    column = batch.column(0)
                    self._require_whole(image, column)
                    end = np.searchsorted(wanted, start + len(column))
                    encoded = column.field("bytes")
                    for row in wanted[found:end]:
                        yield encoded[row - start].as_py() or b"", f"{self.name}, row {row}"
                    start, found = start + len(column), int(end)
        if found < len(wanted):
            raise InputError(f"{self.name} has only {start} rows now; do not change it meanwhile")

    def _require_whole(self, name: str, column: Any) -> None:
        if column.null_count:
            raise InputError(
                f"{self.name}: column {name!r:.80} has {column.null_count} nulls; it must be "
                "without nulls"
            )

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[Any, str, str]]:
        """A file, and the names of its column of images and of labels."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with open_given(path) as file:
                parquet = pq.ParquetFile(file, buffer_size=_BUFFER)
                schema = parquet.schema_arrow
                image = self._column(schema, _IMAGE_COLUMNS)
                label = self._column(schema, _LABEL_COLUMNS)
                self._check_types(schema.field(image), schema.field(label))
                yield parquet, image, label
        except (pa.ArrowException, OSError, MemoryError) as error:
            reason = "the file is truncated or not parquet"
            with contextlib.suppress(OSError), open_given(path) as file:
                if file.read(len(_LFS)) == _LFS:
                    reason = "the file is a pointer of Git LFS: run git lfs pull in its repository"
            raise InputError(f"{path} cannot be read ({first_line(error)}); {reason}") from error

    def _column(self, schema: Any, names: Sequence[str]) -> str:
        for name in names:
            if schema.names.count(name) == 1:
                return name
        raise InputError(
            f"{self.name}: no column {' or '.join(names)} among {schema.names[:8]}; use the hub's "
            "image layout"
        )

    def _check_types(self, image: Any, label: Any) -> None:
        import pyarrow as pa

        if not pa.types.is_integer(label.type):
            raise InputError(
                f"{self.name}: column {label.name!r} is {label.type!s:.80}; it must hold integers"
            )
        at = image.type.get_field_index("bytes") if pa.types.is_struct(image.type) else -1
        if at < 0:
            raise InputError(
                f"{self.name}: column {image.name!r} is {image.type!s:.80}; it must be a struct "
                "with the encoded image in a field 'bytes'"
            )
        kind = image.type.field(at).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(
                f"{self.name}: field 'bytes' of column {image.name!r} is {kind!s:.80}; it must be "
                "binary"
            )


def _batch_size(parquet: Any, image: str) -> int:
    """Rows of images to read at once: one alone may be as large as its whole column."""
    import pyarrow as pa

    if not pa.types.is_binary(parquet.schema_arrow.field(image).type.field("bytes").type):
        return 1  # a batch of this type may have more than 2 GiB
    groups = map(parquet.metadata.row_group, range(parquet.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    announced = max(
        (c.total_uncompressed_size for c in columns if c.path_in_schema == f"{image}.bytes"),
        default=1,
    )
    return max(1, min(_IMAGE_BATCH, _BATCH_BYTES // max(1, announced)))
