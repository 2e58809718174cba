"""What rows are expected to cost, and which of them share one paid answer.

Identical requests (same endpoint, same body) are called once. Rows with the same chat form a *group*; after
routing, each group has at most one paid *owner* per route, the row with the lowest id; the others are *copies*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.config import Config
from routellm_batch.planning import Cut, RankedRows, score_key
from routellm_batch.pricing import MILLION
from routellm_batch.types import ROUTES, Route


@dataclass(frozen=True, slots=True)
class Prices:
    """Expected cost of a call as a line in its input tokens: in nano-dollars."""

    input_nano: dict[Route, int]
    answer_nano: dict[Route, int]
    """Of the expected output, times a million."""
    output_tokens: dict[Route, int]
    """Expected output tokens of one answer."""

    @classmethod
    def of(cls, config: Config) -> Prices:
        """Read them from the config."""
        ends = {route: getattr(config.endpoints, route) for route in ROUTES}
        out = {route: end.expected_output_tokens for route, end in ends.items()}
        return cls(
            {route: end.nano_price.input_nano for route, end in ends.items()},
            {route: end.nano_price.output_nano * out[route] for route, end in ends.items()},
            out,
        )

    def cost(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls with these input tokens, int64 [B]."""
        total = tokens * self.input_nano[route] + self.answer_nano[route]
        return np.asarray((2 * total + MILLION) // (2 * MILLION), dtype=np.int64)


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


@dataclass(slots=True)
class Copies:
    """Rows that take their answer from another row: four parallel int32 columns."""

    parts: list[NDArray[np.int32]] = field(default_factory=list)
    """Each [n, 4]: shard, row, owner's shard, owner's row."""

    @property
    def count(self) -> int:
        """Number of copies."""
        return sum(len(part) for part in self.parts)

    def shards(self) -> list[int]:
        """Shards that hold a copy, sorted."""
        return sorted({int(s) for part in self.parts for s in np.unique(part[:, 0])})

    def by_shard(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield each shard's copies as a table of row, owner_shard, owner_row, sorted by row."""
        if not self.parts:
            return
        rows = np.concatenate(self.parts)
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        starts = np.flatnonzero(np.diff(rows[:, 0], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            part = rows[start:end]
            columns = {"row": part[:, 1], "owner_shard": part[:, 2], "owner_row": part[:, 3]}
            yield int(part[0, 0]), pa.table(columns)


def costs_of(table: pa.Table, prices: Prices) -> tuple[RankedRows, int, int]:
    """Return what selection needs of a bucket's rows, and the bucket's cost all weak and all strong.

    A lone row costs strong − weak more when it goes strong. Of a group of identical prompts the highest-ranked row
    brings the strong call, and the weak call is saved only with the last; that saving is left out, so a plan made
    from these deltas never costs more than they say.
    """
    key = score_key(table.column("score").to_numpy())
    tie = table.column("tie").to_numpy()
    tokens = table.column("tokens").to_numpy().astype(np.int64)
    strong, weak = prices.cost("strong", tokens), prices.cost("weak", tokens)
    group, size = _groups(table)
    order = np.lexsort((tie, key, group))[::-1]  # each group's rows, highest rank first
    first = np.diff(group[order], prepend=-1) != 0
    delta = np.zeros(len(key), dtype=np.int64)
    lead = order[first]
    delta[lead] = np.where(size[group[lead]] == 1, strong[lead] - weak[lead], strong[lead])
    np.maximum(delta, 0, out=delta)
    return RankedRows(key, tie, delta), int(weak[lead].sum()), int(strong[lead].sum())


def settle_routes(
    tables: Iterable[pa.Table], cut: Cut, prices: Prices
) -> tuple[int, dict[str, Totals], Copies]:
    """Follow a cut through all buckets.

    Returns:
        K, the totals of each route, and the copies.

    """
    strong_count = 0
    totals: dict[str, Totals] = {route: Totals() for route in ROUTES}
    copies = Copies()
    for table in tables:
        strong = cut.strong(score_key(table.column("score").to_numpy()), table.column("tie").to_numpy())
        strong_count += int(strong.sum())
        tokens = table.column("tokens").to_numpy().astype(np.int64)
        group, _ = _groups(table)
        owner = _owners(table, group * 2 + strong)
        own = owner == np.arange(len(owner))
        if not own.all():
            copies.parts.append(_copy_rows(table, np.flatnonzero(~own), owner))
        for route, there in (("strong", strong), ("weak", ~strong)):
            paid = tokens[there & own]
            nano = int(prices.cost(route, paid).sum())  # type: ignore[arg-type]
            answers = prices.output_tokens[route] * len(paid)  # type: ignore[index]
            totals[route] = totals[route].plus(len(paid), int(there.sum()), int(paid.sum()), answers, nano)
    return strong_count, totals, copies


def _groups(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's group number [B] and each group's size."""
    digests = table.column("content").combine_chunks().dictionary_encode()
    digests = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    group = digests.indices.to_numpy().astype(np.int64)
    return group, np.bincount(group, minlength=len(digests.dictionary))


def _owners(table: pa.Table, call: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of the row that pays for each row's answer, itself for most; call [B] names requests."""
    owner = np.arange(len(call))
    _, inverse, sizes = np.unique(call, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(sizes[inverse] > 1)
    if len(shared):
        rows = pa.table({"call": call[shared], "id": table.column("id").take(shared), "at": shared})
        rows = rows.sort_by([("call", "ascending"), ("id", "ascending")])
        calls, at = rows.column("call").to_numpy(), rows.column("at").to_numpy()
        first = np.diff(calls, prepend=calls[0] - 1) != 0
        owner[at] = at[first][np.cumsum(first) - 1]
    return owner


def _copy_rows(table: pa.Table, rows: NDArray[np.int64], owner: NDArray[np.int64]) -> NDArray[np.int32]:
    shard, row = table.column("shard").to_numpy(), table.column("row").to_numpy()
    return np.stack([shard[rows], row[rows], shard[owner[rows]], row[owner[rows]]], axis=1).astype(np.int32)
