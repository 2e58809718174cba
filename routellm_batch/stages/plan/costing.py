"""What rows are expected to cost, and which of them share one paid answer.

Identical requests (same endpoint, same body) are called once. Rows with the same chat form a *group*; after
routing, each group has at most one paid *owner* per route, the row with the lowest id; the others are *copies*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.prices import Prices, Totals
from routellm_batch.budget.selection.cut import Cut, RankedRows
from routellm_batch.core.types import ROUTES, STRONG, WEAK
from routellm_batch.stages.plan.spill import Bucket, BucketSpill, bucket_count, repeated

COPY = np.dtype([("shard", "<i4"), ("row", "<i4"), ("owner_shard", "<i4"), ("owner_row", "<i4")])
"""A row that takes its answer from another one, and that one: its *owner*."""


class Copies:
    """Rows that take their answer from another row, on a local disk."""

    def __init__(self, folder: Path, shards: int, rows: int) -> None:
        self._spill = BucketSpill(folder, COPY, bucket_count(rows))
        self._counts = np.zeros(shards, dtype=np.int64)

    def add(self, rows: NDArray[np.void], owners: NDArray[np.void]) -> None:
        """Take rows [B] and their owners [B], both as ``ROW``."""
        copies = np.empty(len(rows), dtype=COPY)
        copies["shard"], copies["row"] = rows["shard"], rows["row"]
        copies["owner_shard"], copies["owner_row"] = owners["shard"], owners["row"]
        self._counts += np.bincount(rows["shard"], minlength=len(self._counts))
        self._spill.add(copies, copies["shard"].astype(np.uint64))

    @property
    def count(self) -> int:
        """Number of copies."""
        return int(self._counts.sum())

    def shards(self) -> list[int]:
        """Shards that hold a copy, sorted."""
        return [int(shard) for shard in np.flatnonzero(self._counts)]

    def by_shard(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield each shard's copies as a table of row, owner_shard, owner_row, sorted by row."""
        for bucket in self._spill.buckets():
            rows = bucket.rows[np.lexsort((bucket.rows["row"], bucket.rows["shard"]))]
            starts = np.flatnonzero(np.diff(rows["shard"], prepend=-1))
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                part = rows[start:stop]
                columns = {
                    name: np.ascontiguousarray(part[name]) for name in ("row", "owner_shard", "owner_row")
                }
                yield int(part["shard"][0]), pa.table(columns)


def costs_of(rows: NDArray[np.void], prices: Prices) -> tuple[RankedRows, int, int]:
    """Return what selection needs of a bucket's rows, and the bucket's expected cost all weak and all strong.

    A lone row costs strong − weak more when it goes strong. Of a group of identical prompts the highest-ranked row
    brings the strong call, and the weak call is saved only with the last; that saving is left out, so a plan made
    from these deltas never costs more than they say.

    Args:
        rows: [B], as ``ROW``.
        prices: what calls are expected to cost.

    Returns:
        The ranked rows [B], and nano-dollars all weak and all strong.

    """
    key, tie = prices.keys(rows), np.ascontiguousarray(rows["tie"])
    strong, weak = prices.row_cost(STRONG, rows), prices.row_cost(WEAK, rows)
    delta, paid = strong - weak, np.ones(len(rows), dtype=bool)
    at = repeated(rows["first"])
    if len(at):
        at = at[np.lexsort((tie[at], key[at], rows["second"][at], rows["first"][at]))[::-1]]
        # The highest rank of each group comes first in it.
        leads = _changes(rows["first"][at]) | _changes(rows["second"][at])
        sizes = np.diff(np.append(np.flatnonzero(leads), len(at)))
        shared = np.repeat(sizes > 1, sizes)
        delta[at[shared]] = strong[at[shared]]
        delta[at[~leads]] = 0
        paid[at[~leads]] = False
    np.maximum(delta, 0, out=delta)
    return RankedRows(key, tie, delta), int(weak[paid].sum()), int(strong[paid].sum())


def settle_routes(
    buckets: Iterable[Bucket], cut: Cut, prices: Prices, copies: Copies
) -> tuple[int, dict[str, Totals]]:
    """Follow a cut through all buckets.

    Args:
        buckets: all valid rows, as ``ROW``.
        cut: which of them go strong.
        prices: what calls are expected to cost.
        copies: takes the rows that another row pays for.

    Returns:
        The number of strong rows, and the totals of each route.

    """
    strong_count = 0
    totals: dict[str, Totals] = {route: Totals() for route in ROUTES}
    for bucket in buckets:
        rows = bucket.rows
        strong = cut.strong(prices.keys(rows), rows["tie"])
        strong_count += int(strong.sum())
        own = np.ones(len(rows), dtype=bool)
        copied, owners = _copies(bucket, strong)
        if len(copied):
            copies.add(rows[copied], rows[owners])
            own[copied] = False
        for route, sent in zip(ROUTES, (strong, ~strong), strict=True):
            paid = rows[sent & own]
            nano, answers = int(prices.row_cost(route, paid).sum()), prices.row_answers(route, paid)
            tokens = int(paid["tokens"].sum(dtype=np.int64))
            totals[route] = totals[route].plus(len(paid), int(sent.sum()), tokens, answers, nano)
    return strong_count, totals


def _copies(bucket: Bucket, strong: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of rows that another row pays for, and those rows' positions: the lowest id pays."""
    rows = bucket.rows
    at = repeated(rows["first"])
    if not len(at):
        return at, at
    request = {"first": rows["first"][at], "second": rows["second"][at], STRONG: strong[at]}
    table = pa.table({**request, "id": bucket.texts().take(pa.array(at)), "at": at})
    table = table.sort_by([(name, "ascending") for name in (*request, "id")])
    at = table.column("at").to_numpy()
    leads = _changes(rows["first"][at]) | _changes(rows["second"][at]) | _changes(strong[at])
    owners = at[leads][np.cumsum(leads) - 1]
    return at[~leads], owners[~leads]


def _changes(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return for each value [B] whether it differs from the one before it; the first one does."""
    return np.append(True, values[1:] != values[:-1])
