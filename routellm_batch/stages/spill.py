"""Rows on a local disk, in buckets: what keeps planning's memory flat however many rows there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.planning import RankedRows

BUCKET_ROWS = 65_536
"""A bucket holds about this many rows, whatever the total."""
MAX_BUCKETS = 4_096
READ_ROWS = 262_144
RANKED = np.dtype([("key", "<u4"), ("tie", "<u8"), ("delta", "<i8")])


def bucket_count(rows: int) -> int:
    """Return how many buckets keep each at about 65,536 rows."""
    return max(1, min(MAX_BUCKETS, -(-rows // BUCKET_ROWS)))


class BucketSpill:
    """Tables split over bucket files, so that equal keys meet in one bucket."""

    def __init__(self, folder: Path, buckets: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._buckets = buckets

    def add(self, table: pa.Table, hashes: NDArray[np.uint64]) -> None:
        """Append rows, each to the bucket that its uint64 hash falls in."""
        bucket = (hashes % np.uint64(self._buckets)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        ordered = table.take(order)
        edges = np.searchsorted(bucket[order], np.arange(self._buckets + 1))
        for number in range(self._buckets):
            low, high = int(edges[number]), int(edges[number + 1])
            if low < high:
                self._append(number, ordered.slice(low, high - low))

    def tables(self) -> Iterator[pa.Table]:
        """Yield each bucket's rows as one table; empty buckets are left out."""
        for number in range(self._buckets):
            path = self._path(number)
            if path.exists():
                yield _read_streams(path)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.arrows"

    def _append(self, number: int, table: pa.Table) -> None:
        # One short stream after another: no file stays open, so thousands of buckets are no strain.
        with self._path(number).open("ab") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())


def _read_streams(path: Path) -> pa.Table:
    size = path.stat().st_size
    tables = []
    with pa.OSFile(str(path)) as file:
        while file.tell() < size:
            tables.append(pa.ipc.open_stream(file).read_all())
    return pa.concat_tables(tables)


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
