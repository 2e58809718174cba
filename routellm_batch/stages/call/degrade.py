"""A higher cut for the rows still pending, when a run turns out dearer than its plan: ``plan.d<n>.json``.

Rows that are answered or failed keep their route, and every pending row that is weak stays weak; of the strong
ones the lowest-ranked go weak, as many as it takes. This is exact and in bounded memory, like the plan itself. Rows that
take their answer from another row go with that row, whatever their own score: who pays for whom is decided once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.plan import Degrade, Reason
from routellm_batch.budget.pricing import CallPrice
from routellm_batch.budget.selection.cut import NONE_STRONG, Cut, RankedRows, pick_cut
from routellm_batch.budget.spend.projection import WHOLE, RouteSpending, projected_nano, room_nano
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route, Shard
from routellm_batch.stages.call.job import CallJob
from routellm_batch.stages.call.responses import FINAL
from routellm_batch.stages.plan.make import copies_path
from routellm_batch.stages.plan.spill import ColumnSpill
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

THREADS = 8
"""Threads that read shards."""
BODY_BYTES = 1_024
"""Bytes of a request beside its turns, as a guess."""
SIZED = np.dtype([("key", "<u4"), ("tie", "<u8"), ("tokens", "<i8")])
"""``SizedRows``, on disk."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """Why a new cut is due, and what was known then."""

    reason: Reason
    """Why."""
    at: str
    """When: UTC, ISO 8601."""
    cap_nano: int
    """What the cap leaves for calls; ``budget.usd`` where ``soft``."""
    spent_nano: int
    """Settled and presumed, with no call in flight."""
    finished_nano: Mapping[Route, int]
    """Route → what the finished calls were expected to cost."""
    routes: Mapping[Route, RouteSpending]
    """Route → its spending beside its plan."""
    soft: bool = False
    """``cap_nano`` is ``budget.usd``: no cap, and no worst case is to fit in it."""


@dataclass(frozen=True, slots=True)
class SizedRows:
    """Pending rows as a new cut sees them; three arrays of one length."""

    key: NDArray[np.uint32]
    """Order-preserving bits of the value that rows are ranked by."""
    tie: NDArray[np.uint64]
    """Keyed hash of the id."""
    tokens: NDArray[np.int64]
    """Estimated input tokens."""

    def where(self, mask: NDArray[np.bool_]) -> SizedRows:
        """Return the rows [B] at which ``mask`` [B] is true."""
        return SizedRows(self.key[mask], self.tie[mask], self.tokens[mask])


def load_degrades(run: Run) -> list[Degrade]:
    """Return the run's further plans, oldest first."""
    degrades: list[Degrade] = []
    while fields := run.read_json(degrade_path(len(degrades) + 1)):
        degrades.append(Degrade.from_json(fields))
    return degrades


def degrade_path(number: int) -> str:
    """Return the path of a further plan; they count from 1."""
    return f"plan.d{number}.json"


def make_degrade(
    job: CallJob, shards: Sequence[Shard], copy_shards: frozenset[int], number: int, overrun: Overrun
) -> Degrade | None:
    """Choose a higher cut for the pending rows of some shards and write it; None if it would move no row.

    Args:
        job: what is followed now.
        shards: those with pending rows; no call of them may be in flight.
        copy_shards: shards with rows that take their answer from another one.
        number: of the new plan.
        overrun: why, and what was learned.

    Returns:
        The new plan as it is stored, which may be that of another process that wrote the number first.

    """
    with tempfile.TemporaryDirectory(prefix="routellm-degrade-") as scratch:
        rows = _Pending(job, Path(scratch) / STRONG, overrun)
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(shards), 4 * THREADS):  # map would read all shards at once
                some = shards[start : start + 4 * THREADS]
                for part in pool.map(
                    lambda shard: _read(job, shard, copied=shard.index in copy_shards), some
                ):
                    rows.add(part)
        degrade = rows.degrade(number, overrun)
    if degrade.moved == 0:
        return None
    job.run.store.create(degrade_path(number), degrade.to_json())
    return load_degrades(job.run)[number - 1]


@dataclass(frozen=True, slots=True)
class _Part:
    """Pending rows of one shard that pay for themselves."""

    rows: SizedRows
    smallest: int
    """Fewest bytes of a prompt; -1 without any."""
    largest: tuple[int, int]
    """Most bytes and most turns of a prompt."""


def _read(job: CallJob, shard: Shard, *, copied: bool) -> _Part:
    columns = ["kind", "score", "tie", "tokens", "bytes", "turns"]
    scores = from_parquet(job.run.store.read(f"score/{shard.name}.parquet"), columns)
    pending = np.asarray(scores.column("kind").is_null().to_numpy(), dtype=bool).copy()
    if copied:
        table = from_parquet(job.run.store.read(copies_path(job.copies_cut or job.cut, shard)), ["row"])
        pending[table.column("row").to_numpy()] = False
    records = ShardLedger(job.run.store, shard.name).load().records
    pending[[row for row, record in records.items() if record.status in FINAL]] = False
    left = scores.filter(pending)
    sizes = left.column("bytes").to_numpy(), left.column("turns").to_numpy()
    largest = (int(sizes[0].max()), int(sizes[1].max())) if left.num_rows else (0, 0)
    tokens = left.column("tokens").to_numpy().astype(np.int64)
    keys = job.ranker.keys(left.column("score").to_numpy(), tokens)
    rows = SizedRows(keys, left.column("tie").to_numpy(), tokens)
    return _Part(rows, int(sizes[0].min()) if left.num_rows else -1, largest)


class _Pending:
    """All pending rows: sums of the weak ones, and the strong ones on a local disk."""

    def __init__(self, job: CallJob, path: Path, overrun: Overrun) -> None:
        self._cut = job.cut
        self._weak: CallPrice = job.config.endpoints.weak.call_price
        self._prices = job.expected
        self._ratios = {route: overrun.routes[route].ratio_ppm for route in ROUTES}
        self._strong = ColumnSpill(path, SizedRows, SIZED)
        self._weak_nano = 0
        self._learned_weak_nano = 0
        self._smallest = -1
        self._largest = (0, 0)

    def add(self, part: _Part) -> None:
        """Take a shard's rows."""
        rows = part.rows
        strong = self._cut.strong(rows.key, rows.tie)
        self._strong.add(rows.where(strong))
        self._weak_nano += int(self._prices.cost(WEAK, rows.tokens[~strong]).sum())
        self._learned_weak_nano += int(self._learned(WEAK, rows.tokens).sum())
        self._smallest = min((n for n in (self._smallest, part.smallest) if n >= 0), default=-1)
        self._largest = (max(self._largest[0], part.largest[0]), max(self._largest[1], part.largest[1]))

    def degrade(self, number: int, overrun: Overrun) -> Degrade:
        """Choose the cut, and count what it does."""
        cut = self._choose(overrun)
        moved, kept, learned = 0, 0, overrun.spent_nano + self._learned_weak_nano
        planned: dict[Route, int] = {
            STRONG: overrun.finished_nano[STRONG],
            WEAK: overrun.finished_nano[WEAK] + self._weak_nano,
        }
        for rows in self._strong.passes():
            strong = cut.strong(rows.key, rows.tie)
            moved, kept = moved + int((~strong).sum()), kept + int(strong.sum())
            planned[STRONG] += int(self._prices.cost(STRONG, rows.tokens[strong]).sum())
            planned[WEAK] += int(self._prices.cost(WEAK, rows.tokens[~strong]).sum())
            learned += int(self._more(rows.tokens[strong]).sum())
        return Degrade(
            number=number,
            cut=cut,
            reason=overrun.reason,
            at=overrun.at,
            moved=moved,
            kept=kept,
            planned_nano=planned,
            ratio_ppm={route: self._ratios[route] for route in ROUTES},
            cap_nano=overrun.cap_nano,
            spent_nano=overrun.spent_nano,
            projected_nano=projected_nano(overrun.spent_nano, overrun.routes.values()),
            lowered_nano=learned,
            soft=overrun.soft,
        )

    def _choose(self, overrun: Overrun) -> Cut:
        left, (size, turns) = overrun.cap_nano - overrun.spent_nano, self._largest
        if overrun.soft:
            return pick_cut(self._deltas, self._learned_weak_nano, room_nano(left, 0), self._cut)
        if left < self._weak.worst_nano(self._smallest, 1):
            # No row can be paid for now, whatever its route; a raised cap may yet pay for the rows as they are.
            return self._cut
        if overrun.reason == "worst_case":
            return NONE_STRONG
        room = room_nano(left, self._weak.worst_nano(size + BODY_BYTES, turns))
        return pick_cut(self._deltas, self._learned_weak_nano, room, self._cut)

    def _deltas(self) -> Iterator[RankedRows]:
        for rows in self._strong.passes():
            yield RankedRows(rows.key, rows.tie, self._more(rows.tokens))

    def _more(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nano-dollars that calls cost more strong than weak, as learned, int64 [B]; never negative."""
        more = self._learned(STRONG, tokens) - self._learned(WEAK, tokens)
        return np.asarray(np.maximum(more, 0), dtype=np.int64)

    def _learned(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls, times the ratio that was learned, int64 [B]."""
        scaled = self._prices.cost(route, tokens) * self._ratios[route]
        return np.asarray(-(-scaled // WHOLE), dtype=np.int64)
