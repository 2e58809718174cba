"""Rows on a local disk, in buckets: what keeps planning's memory flat however many rows there are.

Rows are packed in NumPy records, not in Arrow tables: a bucket then grows by one plain write, and reads back in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.selection.cut import RankedRows

BUCKET_ROWS = 65_536
"""A bucket holds about so many rows, whatever the total."""
MAX_BUCKETS = 4_096
"""Of more rows than so many buckets hold, each takes more."""
READ_ROWS = 262_144
"""Records of a pass that are in memory at a time."""
RANKED = np.dtype([("key", "<u4"), ("tie", "<u8"), ("delta", "<i8")])
"""``RankedRows``, on disk."""


def bucket_count(rows: int) -> int:
    """Return the number of buckets for so many rows: each holds about 65,536."""
    return max(1, min(MAX_BUCKETS, -(-rows // BUCKET_ROWS)))


def repeated(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the positions of the words [B] that occur more than once; those of one word are side by side."""
    order = np.argsort(words)
    ordered = words[order]
    equal = ordered[1:] == ordered[:-1]
    return order[np.append(equal, False) | np.append(False, equal)] if len(words) else order


def binary_offsets(texts: pa.Array) -> NDArray[np.int32]:
    """Return where each text of a non-empty binary array begins and the last one ends, int32 [B + 1]."""
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset :][: len(texts) + 1]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rows whose hashes fall together."""

    rows: NDArray[np.void]
    """Records [B] of the spill's type."""
    _texts: Path

    def texts(self) -> pa.Array:
        """Return the rows' texts, binary [B]; their lengths are the records' ``id_bytes``."""
        stops = np.cumsum(self.rows["id_bytes"], dtype=np.int32)
        buffers = [None, pa.py_buffer(np.append(np.int32(0), stops)), pa.py_buffer(self._texts.read_bytes())]
        return pa.Array.from_buffers(pa.binary(), len(self.rows), buffers)


class BucketSpill:
    """Records split over bucket files, so that equal hashes meet in one bucket."""

    def __init__(self, folder: Path, kind: np.dtype[np.void], buckets: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._kind = kind
        self._buckets = buckets

    def add(self, rows: NDArray[np.void], hashes: NDArray[np.uint64], texts: pa.Array | None = None) -> None:
        """Append records to the buckets that their hashes fall in.

        Args:
            rows: [B], records of the spill's type.
            hashes: [B], which bucket each goes to.
            texts: [B], binary; kept beside the records, if given.

        """
        bucket = (hashes % np.uint64(self._buckets)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")  # a radix sort, as the numbers have 16 bits
        rows, sizes = rows[order], np.bincount(bucket, minlength=self._buckets)
        edges = np.append(0, np.cumsum(sizes))
        filled = [int(number) for number in np.flatnonzero(sizes)]
        for number in filled:
            _append(self._path(number), rows[edges[number] : edges[number + 1]].tobytes())
        if texts is not None and filled:
            ordered = texts.take(pa.array(order))
            cuts = binary_offsets(ordered)[edges]
            data = memoryview(ordered.buffers()[2] or b"")
            for number in filled:
                _append(self._text_path(number), data[cuts[number] : cuts[number + 1]])

    def buckets(self) -> Iterator[Bucket]:
        """Yield each bucket that is not empty; within one, rows are in the order in which they were added."""
        for number in range(self._buckets):
            path = self._path(number)
            if path.exists():
                yield Bucket(np.fromfile(path, dtype=self._kind), self._text_path(number))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.rows"

    def _text_path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.texts"


def _append(path: Path, data: bytes | memoryview) -> None:
    # No file stays open, so thousands of buckets are no strain.
    with path.open("ab", buffering=0) as file:
        file.write(data)


Columns = TypeVar("Columns")


class ColumnSpill(Generic[Columns]):
    """Rows in one file that is read in passes.

    Args:
        path: of the file; it is created.
        rows: type of the rows: a value that is built of one array for each field of ``record``, in order.
        record: one row on disk.

    """

    def __init__(self, path: Path, rows: type[Columns], record: np.dtype[np.void]) -> None:
        self._path = path
        self._rows = rows
        self._record = record
        self._names = tuple(record.names or ())
        path.touch()

    def add(self, rows: Columns) -> None:
        """Append rows."""
        columns: list[NDArray[Any]] = [getattr(rows, name) for name in self._names]
        packed = np.empty(len(columns[0]), dtype=self._record)
        for name, column in zip(self._names, columns, strict=True):
            packed[name] = column
        with self._path.open("ab") as file:
            packed.tofile(file)

    def passes(self) -> Iterator[Columns]:
        """Start one pass over all rows, in parts."""
        with self._path.open("rb") as file:
            while len(part := np.fromfile(file, dtype=self._record, count=READ_ROWS)):
                yield self._rows(*(np.ascontiguousarray(part[name]) for name in self._names))


class RankedSpill(ColumnSpill[RankedRows]):
    """What selection needs of every row, 20 bytes each."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, RankedRows, RANKED)
