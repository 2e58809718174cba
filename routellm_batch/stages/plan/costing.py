"""What rows are expected to cost, and which of them share one paid answer.

Identical requests (same endpoint, same body) are called once. Rows with the same chat form a *group*; after
routing, each group has at most one paid *owner* per route, the row with the lowest id; the others are *copies*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.pricing import MILLION
from routellm_batch.budget.selection.cut import Cut, RankedRows
from routellm_batch.budget.selection.ranking import BY_SCORE, AnswerCost, Ranker
from routellm_batch.config.job import Config
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.stages.plan.spill import Bucket, BucketSpill, bucket_count, repeated

COPY = np.dtype([("shard", "<i4"), ("row", "<i4"), ("owner_shard", "<i4"), ("owner_row", "<i4")])


@dataclass(frozen=True, slots=True)
class Prices:
    """Expected cost of a call in nano-dollars: a line in its input tokens, or what a pilot's answers say."""

    input_nano: dict[Route, int]
    answer_nano: dict[Route, int]
    """Of the expected output, times a million."""
    output_tokens: dict[Route, int]
    """Expected output tokens of one answer."""
    ranker: Ranker = BY_SCORE
    """How rows are ordered, and what is known of their answers' lengths."""

    @classmethod
    def of(cls, config: Config, ranker: Ranker = BY_SCORE) -> Prices:
        """Read them from the config."""
        ends = {route: getattr(config.endpoints, route) for route in ROUTES}
        out = {route: end.expected_output_tokens for route, end in ends.items()}
        return cls(
            {route: end.nano_price.input_nano for route, end in ends.items()},
            {route: end.nano_price.output_nano * out[route] for route, end in ends.items()},
            out,
            ranker,
        )

    @classmethod
    def evenly(cls, costs: Mapping[Route, AnswerCost], planned: Mapping[str, Totals]) -> Prices:
        """Spread each route's plan evenly over its calls.

        Lengths are known row by row while planning; on the way sums of calls and tokens must say what was expected.
        """
        inputs, answers, lengths = dict[Route, int](), dict[Route, int](), dict[Route, int]()
        for route, cost in costs.items():
            totals, middle = planned[route], cost.by_tokens.value[len(cost.by_tokens.value) // 2]
            inputs[route] = round(cost.input_nano * cost.input_ratio)
            answers[route], lengths[route] = round(middle * cost.output_nano), round(middle)
            if totals.calls:
                rest = totals.planned_nano * MILLION - totals.input_tokens * inputs[route]
                answers[route], lengths[route] = (
                    max(0, rest // totals.calls),
                    totals.output_tokens // totals.calls,
                )
        return cls(inputs, answers, lengths)

    def cost(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls with these input tokens, int64 [B]."""
        total = tokens * self.input_nano[route] + self.answer_nano[route]
        return np.asarray((2 * total + MILLION) // (2 * MILLION), dtype=np.int64)

    def row_cost(self, route: Route, rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls for rows [B] (``ROW``)."""
        tokens = rows["tokens"].astype(np.int64)
        if self.ranker.costs is None:
            return self.cost(route, tokens)
        return self.ranker.costs[route].nano(tokens, _scores(rows))

    def row_answers(self, route: Route, rows: NDArray[np.void]) -> int:
        """Return the output tokens that calls for rows [B] (``ROW``) should bring."""
        if self.ranker.costs is None:
            return self.output_tokens[route] * len(rows)
        tokens = rows["tokens"].astype(np.int64)
        return round(float(self.ranker.costs[route].output_tokens(tokens, _scores(rows)).sum()))

    def keys(self, rows: NDArray[np.void]) -> NDArray[np.uint32]:
        """Return what rows [B] (``ROW``) are ordered by."""
        return self.ranker.keys(_scores(rows), rows["tokens"])


def _scores(rows: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the scores that the records' keys are the bits of."""
    return np.ascontiguousarray(rows["key"]).view(np.float32)


@dataclass(frozen=True, slots=True)
class Totals:
    """Distinct requests to one endpoint, as planned."""

    calls: int = 0
    rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    planned_nano: int = 0

    def plus(self, calls: int, rows: int, input_tokens: int, output_tokens: int, nano: int) -> Totals:
        """Add some requests."""
        return Totals(
            self.calls + calls,
            self.rows + rows,
            self.input_tokens + input_tokens,
            self.output_tokens + output_tokens,
            self.planned_nano + nano,
        )


class Copies:
    """Rows that take their answer from another row, on a local disk."""

    def __init__(self, folder: Path, shards: int, rows: int) -> None:
        self._spill = BucketSpill(folder, COPY, bucket_count(rows))
        self._counts = np.zeros(shards, dtype=np.int64)

    def add(self, rows: NDArray[np.void], owners: NDArray[np.void]) -> None:
        """Take rows [B] and the rows [B] that pay for them, both as ``ROW``."""
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
            for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
                part = rows[start:end]
                columns = {
                    name: np.ascontiguousarray(part[name]) for name in ("row", "owner_shard", "owner_row")
                }
                yield int(part["shard"][0]), pa.table(columns)


def costs_of(rows: NDArray[np.void], prices: Prices) -> tuple[RankedRows, int, int]:
    """Return what selection needs of a bucket's rows (``ROW``), and the bucket's cost all weak and all strong.

    A lone row costs strong − weak more when it goes strong. Of a group of identical prompts the highest-ranked row
    brings the strong call, and the weak call is saved only with the last; that saving is left out, so a plan made
    from these deltas never costs more than they say.
    """
    key, tie = prices.keys(rows), np.ascontiguousarray(rows["tie"])
    strong, weak = prices.row_cost("strong", rows), prices.row_cost("weak", rows)
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
    """Follow a cut through all buckets; the copies are added to ``copies``.

    Returns:
        K, and the totals of each route.

    """
    strong_count = 0
    totals: dict[str, Totals] = {route: Totals() for route in ROUTES}
    for bucket in buckets:
        rows = bucket.rows
        strong = cut.strong(prices.keys(rows), rows["tie"])
        strong_count += int(strong.sum())
        own = np.ones(len(rows), dtype=bool)
        taking, owners = _copies(bucket, strong)
        if len(taking):
            copies.add(rows[taking], rows[owners])
            own[taking] = False
        for route, there in zip(ROUTES, (strong, ~strong), strict=True):
            paid = rows[there & own]
            nano, answers = int(prices.row_cost(route, paid).sum()), prices.row_answers(route, paid)
            tokens = int(paid["tokens"].sum(dtype=np.int64))
            totals[route] = totals[route].plus(len(paid), int(there.sum()), tokens, answers, nano)
    return strong_count, totals


def _copies(bucket: Bucket, strong: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of rows that another row pays for, and those rows' positions: the lowest id pays."""
    rows = bucket.rows
    at = repeated(rows["first"])
    if not len(at):
        return at, at
    request = {"first": rows["first"][at], "second": rows["second"][at], "strong": strong[at]}
    table = pa.table({**request, "id": bucket.texts().take(pa.array(at)), "at": at})
    table = table.sort_by([(name, "ascending") for name in (*request, "id")])
    at = table.column("at").to_numpy()
    leads = _changes(rows["first"][at]) | _changes(rows["second"][at]) | _changes(strong[at])
    owners = at[leads][np.cumsum(leads) - 1]
    return at[~leads], owners[~leads]


def _changes(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return for each value [B] whether it is not the one before it; the first one is not."""
    return np.append(True, values[1:] != values[:-1])
