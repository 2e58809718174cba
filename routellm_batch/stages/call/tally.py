"""What the calls of a run did so far: read from the markers, and from the ledgers where these know more."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from routellm_batch.budget.spend.summary import CallSummary
from routellm_batch.stages.call.responses import route_totals, summarise
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.run import STAGE, Run, marker_name, newest_markers
from routellm_batch.storage.tables import from_parquet

THREADS = 8


@dataclass(frozen=True, slots=True)
class Tally:
    """How one shard stands."""

    shard: str
    """Its name."""
    revision: int | None
    """Of its newest marker; None if it has none."""
    summary: CallSummary
    """What its calls did and cost."""
    behind: bool = False
    """A pass over its failed or unfunded rows did something that no marker counts."""


def tallies(run: Run, *, begun: bool = True) -> Iterator[Tally]:
    """Yield every shard that has a marker, and with ``begun`` every other that has a ledger."""
    newest = newest_markers(run)
    names = sorted(newest)
    if begun:
        names += [name for name in run.store.folders("call") if name not in newest]
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(lambda shard: _tally(run, shard, newest.get(shard)), names)


def _tally(run: Run, shard: str, revision: int | None) -> Tally:
    ledger = ShardLedger(run.store, shard)
    if revision is None:
        state = ledger.load(
            sure=True
        )  # else money that a stale listing leaves out would be granted once more
        return Tally(shard, None, summarise(_scores(run, shard), state.records, {}, state))
    marker = run.marker(STAGE, marker_name(shard, revision))
    summary = CallSummary.from_dict(marker["summary"])
    # A later pass over its failed or unfunded rows may have spent money and died before its own marker.
    routes = summary.routes
    if (summary.failed or summary.unfunded) and ledger.count_entries() > marker["entries"]:
        routes = route_totals(ledger.load(), _scores(run, shard))
    return Tally(shard, revision, replace(summary, routes=routes), routes != summary.routes)


def _scores(run: Run, shard: str) -> pa.Table:
    return from_parquet(run.store.read(f"score/{shard}.parquet"))
