"""Reads every score shard once, and keeps what planning needs of its rows in buckets on a local disk."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.selection.cut import score_key
from routellm_batch.core.types import InvalidKind, Shard
from routellm_batch.stages.plan.ids import NAMED_FIRST, PLACE, check_ids, check_nulls
from routellm_batch.stages.plan.spill import BucketSpill, binary_offsets, bucket_count
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

READ_THREADS = 8
"""Threads that read score shards."""
READ_AHEAD_ROWS = 131_072
"""Rows that are read before they are needed, at most; two shards at least."""
BATCH_ROWS = 131_072
"""Rows that are put into buckets at a time, at least."""
COLUMNS = ["row", "id", "kind", "score", "tie", "content", "tokens"]
"""Columns of a score shard that planning reads."""
ROW = np.dtype(
    [
        ("first", "<u8"),  # The digest of the chat, in two words.
        ("second", "<u8"),
        ("tie", "<u8"),
        ("key", "<u4"),
        ("tokens", "<i4"),
        ("shard", "<i4"),
        ("row", "<i4"),
        ("id_bytes", "<i4"),
    ]
)
"""A valid row, as planning sees it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All rows of a run, as planning sees them."""

    content: BucketSpill
    """Valid rows as ``ROW``, with sortable ids; identical prompts lie in one bucket."""
    valid: int
    """Rows that can be sent to a model."""
    invalid: int
    """Rows that can't."""
    kinds: Mapping[str, int]
    """Why they can't → how many."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one score shard."""

    named: NDArray[np.void]
    """Rows with an id, as ``PLACE``."""
    rows: NDArray[np.void]
    """Valid rows, as ``ROW``."""
    ids: pa.Array
    """Their ids, sortable as bytes."""
    nulls: list[tuple[int, int]]
    """(shard, row) of rows without an id."""
    kinds: Counter[str]
    """Why rows are invalid → how many."""


def gather_rows(run: Run, folder: Path, column: str) -> Gathered:
    """Read every score shard once.

    Args:
        run: the run.
        folder: where to spill to; it is created.
        column: name of the id column, for messages.

    Raises:
        DataError: null or duplicate ids.

    """
    rows, valid, nulls = sum(shard.rows for shard in run.shards), 0, list[tuple[int, int]]()
    kinds = Counter[str]()
    buckets = bucket_count(rows)
    content = BucketSpill(folder / "content", ROW, buckets)
    names = BucketSpill(folder / "ids", PLACE, buckets)
    for batch in _batches(run):
        nulls += [place for part in batch for place in part.nulls]
        named = np.concatenate([part.named for part in batch])
        names.add(named, named["tie"])
        good = np.concatenate([part.rows for part in batch])
        content.add(good, good["first"], pa.concat_arrays([part.ids for part in batch]))
        valid += len(good)
        for part in batch:
            kinds.update(part.kinds)
    check_nulls(nulls, run, column)
    check_ids((bucket.rows for bucket in names.buckets()), run, column)
    return Gathered(content, valid, rows - valid, kinds)


def _batches(run: Run) -> Iterator[list[_Part]]:
    """Yield all score shards in order, several at a time, so that buckets grow by few and large writes."""
    batch, rows = list[_Part](), 0
    for part in _read_ahead(run):
        batch.append(part)
        rows += len(part.named)
        if rows >= BATCH_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _read_ahead(run: Run) -> Iterator[_Part]:
    ahead = max(2, min(2 * READ_THREADS, READ_AHEAD_ROWS // run.shard_rows))
    with ThreadPoolExecutor(min(ahead, READ_THREADS)) as pool:
        waiting: deque[Future[_Part]] = deque()
        for shard in run.shards:
            waiting.append(pool.submit(_read, run, shard))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(run: Run, shard: Shard) -> _Part:
    table = from_parquet(run.store.read(f"score/{shard.name}.parquet"), COLUMNS)
    bare = table.filter(table.column("id").is_null())
    table = table.filter(table.column("id").is_valid()) if bare.num_rows else table
    named = np.empty(table.num_rows, dtype=PLACE)
    named["tie"], named["shard"], named["row"] = table["tie"].to_numpy(), shard.index, table["row"].to_numpy()
    kinds = Counter[str]()
    if table.column("kind").null_count < table.num_rows:
        kinds.update(map(InvalidKind.of, table.column("kind").drop_null().to_pylist()))
        table = table.filter(table.column("kind").is_null())
    rows, ids = np.empty(table.num_rows, dtype=ROW), pa.array([], pa.binary())
    if table.num_rows:
        ids = _fill(rows, table, shard)
    nulls = bare.column("row").slice(0, NAMED_FIRST).to_pylist()
    return _Part(named, rows, ids, [(shard.index, row) for row in nulls], kinds)


def _fill(rows: NDArray[np.void], table: pa.Table, shard: Shard) -> pa.Array:
    """Fill the records of a shard's valid rows; return their ids."""
    ids = _sortable(table.column("id").combine_chunks())
    rows["first"], rows["second"] = _words(table.column("content").combine_chunks())
    rows["key"] = score_key(table.column("score").to_numpy())
    rows["tie"], rows["tokens"] = table.column("tie").to_numpy(), table.column("tokens").to_numpy()
    rows["shard"], rows["row"] = shard.index, table.column("row").to_numpy()
    rows["id_bytes"] = np.diff(binary_offsets(ids))
    return ids


def _words(digests: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the two 8-byte words of each 16-byte digest, uint64 [B] each."""
    words = np.frombuffer(digests.buffers()[1], dtype="<u8").reshape(-1, 2)
    words = words[digests.offset : digests.offset + len(digests)]
    return words[:, 0], words[:, 1]


def _sortable(ids: pa.Array) -> pa.Array:
    """Return ids as bytes of the same order: UTF-8, or big-endian integers from the lowest one up."""
    if not pa.types.is_integer(ids.type):
        return ids.cast(pa.binary())
    raised = (ids.to_numpy().view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8")
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 8
    return pa.Array.from_buffers(pa.binary(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(raised)])
