"""Rows on a local disk, in buckets: what keeps planning's memory flat however many rows there are.

Rows are packed in NumPy records, not in Arrow tables: a bucket then grows by one plain write, and reads back in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.selection.cut import RankedRows

BUCKET_ROWS = 65_536
"""A bucket holds about this many rows, whatever the total."""
MAX_BUCKETS = 4_096
READ_ROWS = 262_144
RANKED = np.dtype([("key", "<u4"), ("tie", "<u8"), ("delta", "<i8")])


def bucket_count(rows: int) -> int:
    """Return how many buckets keep each at about 65,536 rows."""
    return max(1, min(MAX_BUCKETS, -(-rows // BUCKET_ROWS)))


def repeated(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the positions of the words [B] that occur more than once, those of one word side by side."""
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
        ends = np.cumsum(self.rows["id_bytes"], dtype=np.int32)
        buffers = [None, pa.py_buffer(np.append(np.int32(0), ends)), pa.py_buffer(self._texts.read_bytes())]
        return pa.Array.from_buffers(pa.binary(), len(self.rows), buffers)


class BucketSpill:
    """Records split over bucket files, so that equal hashes meet in one bucket."""

    def __init__(self, folder: Path, kind: np.dtype[np.void], buckets: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._kind = kind
        self._buckets = buckets

    def add(self, rows: NDArray[np.void], hashes: NDArray[np.uint64], texts: pa.Array | None = None) -> None:
        """Append records, each with its text if there are any, to the bucket that its hash falls in."""
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
        """Yield each bucket; empty ones are left out. Within one, rows are in the order that they came in."""
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


class RankedSpill:
    """What selection needs of every row, 20 bytes each, in one file that is read in passes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def add(self, rows: RankedRows) -> None:
        """Append rows."""
        packed = np.empty(len(rows.key), dtype=RANKED)
        packed["key"], packed["tie"], packed["delta"] = rows.key, rows.tie, rows.delta
        with self._path.open("ab") as file:
            packed.tofile(file)

    def passes(self) -> Iterator[RankedRows]:
        """Start one pass over all rows, in parts."""
        with self._path.open("rb") as file:
            while len(part := np.fromfile(file, dtype=RANKED, count=READ_ROWS)):
                fields = (np.ascontiguousarray(part[name]) for name in ("key", "tie", "delta"))
                yield RankedRows(*fields)
