"""A higher cut for the rows still pending, when a run turns out dearer than its plan: ``plan.d<n>.json``.

Rows that are answered or failed keep their route, and every pending row that is weak stays weak; of the strong
ones the lowest-ranked go weak, as many as it takes. Exact and in bounded memory, like the plan itself. Rows that
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
from routellm_batch.budget.pricing import worst_nano
from routellm_batch.budget.selection.cut import NONE_STRONG, Cut, RankedRows, pick_cut
from routellm_batch.budget.spend.projection import WHOLE, RouteBurn, projected_nano, room_nano
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route, Shard
from routellm_batch.stages.call.job import CallJob
from routellm_batch.stages.call.responses import FINAL
from routellm_batch.stages.plan.make import copies_path
from routellm_batch.stages.plan.spill import RankedSpill
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

THREADS = 8
BODY_BYTES = 1_024
"""What a request has beside its turns, as a guess."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """Why a new cut is due, and what was known then."""

    reason: Reason
    at: str
    """UTC, ISO 8601."""
    cap_nano: int
    """What the cap leaves for calls."""
    spent_nano: int
    """Settled and presumed, with no call in flight."""
    ended_nano: Mapping[Route, int]
    """What the calls that ended were expected to cost."""
    burns: Mapping[Route, RouteBurn]


def load_degrades(run: Run) -> list[Degrade]:
    """Return the run's further plans, oldest first."""
    found: list[Degrade] = []
    while fields := run.read_json(degrade_path(len(found) + 1)):
        found.append(Degrade.from_json(fields))
    return found


def degrade_path(number: int) -> str:
    """Path of a further plan."""
    return f"plan.d{number}.json"


def make_degrade(
    job: CallJob, shards: Sequence[Shard], copy_shards: frozenset[int], number: int, overrun: Overrun
) -> Degrade | None:
    """Choose a higher cut for the pending rows of some shards and write it; None if it would move no row.

    Args:
        job: what is followed now.
        shards: those with pending rows; no call of them may be in flight.
        copy_shards: shards with rows that take their answer from another one.
        number: the new plan's.
        overrun: why, and what was learned.

    """
    with tempfile.TemporaryDirectory(prefix="routellm-degrade-") as scratch:
        rows = _Pending(job, Path(scratch) / STRONG, overrun)
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(shards), 4 * THREADS):  # map would read them all at once
                some = shards[start : start + 4 * THREADS]
                for part in pool.map(
                    lambda shard: _read(job, shard, copied=shard.index in copy_shards), some
                ):
                    rows.add(part)
        made = rows.degrade(number, overrun)
    if made.moved == 0:
        return None
    job.run.store.create(degrade_path(number), made.to_json())
    return load_degrades(job.run)[number - 1]


@dataclass(frozen=True, slots=True)
class _Part:
    """Pending rows of one shard that pay for themselves."""

    key: NDArray[np.uint32]
    tie: NDArray[np.uint64]
    tokens: NDArray[np.int64]
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
    return _Part(
        job.ranker.keys(left.column("score").to_numpy(), tokens),
        left.column("tie").to_numpy(),
        tokens,
        int(sizes[0].min()) if left.num_rows else -1,
        largest,
    )


class _Pending:
    """All pending rows: sums of the weak ones, and the strong ones on a local disk."""

    def __init__(self, job: CallJob, path: Path, overrun: Overrun) -> None:
        self._cut = job.cut
        self._end: EndpointConfig = job.config.endpoints.weak
        self._prices = job.expected
        self._ratios = {route: overrun.burns[route].ratio_ppm for route in ROUTES}
        self._strong = RankedSpill(path)  # expected input tokens in place of a delta
        self._weak_nano = 0
        self._learned_weak_nano = 0
        self._smallest = -1
        self._largest = (0, 0)

    def add(self, part: _Part) -> None:
        """Take a shard's rows."""
        strong = self._cut.strong(part.key, part.tie)
        self._strong.add(RankedRows(part.key[strong], part.tie[strong], part.tokens[strong]))
        self._weak_nano += int(self._prices.cost(WEAK, part.tokens[~strong]).sum())
        self._learned_weak_nano += int(self._learned(WEAK, part.tokens).sum())
        self._smallest = min((n for n in (self._smallest, part.smallest) if n >= 0), default=-1)
        self._largest = (max(self._largest[0], part.largest[0]), max(self._largest[1], part.largest[1]))

    def degrade(self, number: int, overrun: Overrun) -> Degrade:
        """Choose the cut, and count what it does."""
        cut = self._choose(overrun)
        moved, kept, learned = 0, 0, overrun.spent_nano + self._learned_weak_nano
        planned: dict[Route, int] = {
            STRONG: overrun.ended_nano[STRONG],
            WEAK: overrun.ended_nano[WEAK] + self._weak_nano,
        }
        for part in self._strong.passes():
            strong = cut.strong(part.key, part.tie)
            moved, kept = moved + int((~strong).sum()), kept + int(strong.sum())
            planned[STRONG] += int(self._prices.cost(STRONG, part.delta[strong]).sum())
            planned[WEAK] += int(self._prices.cost(WEAK, part.delta[~strong]).sum())
            learned += int(self._more(part.delta[strong]).sum())
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
            projected_nano=projected_nano(overrun.spent_nano, overrun.burns.values()),
            lowered_nano=learned,
        )

    def _choose(self, overrun: Overrun) -> Cut:
        left, (size, turns) = overrun.cap_nano - overrun.spent_nano, self._largest
        if left < self._worst_weak(self._smallest, 1):
            return (
                self._cut
            )  # to move rows would help nobody now, and a raised cap may yet pay for them as they are
        if overrun.reason == "worst_case":
            return NONE_STRONG
        room = room_nano(left, self._worst_weak(size + BODY_BYTES, turns))
        return pick_cut(self._deltas, self._learned_weak_nano, room, self._cut)

    def _worst_weak(self, size: int, turns: int) -> int:
        longest = self._end.max_output_tokens or self._end.expected_output_tokens
        return worst_nano(self._end.nano_price, size, turns, longest)

    def _deltas(self) -> Iterator[RankedRows]:
        for part in self._strong.passes():
            yield RankedRows(part.key, part.tie, self._more(part.delta))

    def _more(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what calls cost more strong than weak by what was learned, int64 [B]; never negative."""
        more = self._learned(STRONG, tokens) - self._learned(WEAK, tokens)
        return np.asarray(np.maximum(more, 0), dtype=np.int64)

    def _learned(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        scaled = self._prices.cost(route, tokens) * self._ratios[route]
        return np.asarray(-(-scaled // WHOLE), dtype=np.int64)
