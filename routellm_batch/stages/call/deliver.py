"""Delivering a shard: what its ledger holds becomes ``responses/`` and a marker.

Two runners may deliver one shard: one that was thought dead may commit while the next start works. No lock prevents
that, so the newest object counts, and a newer one never knows less than an older one: a writer that meets an object of
another writer reads the ledger again, after it, before it writes the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from routellm_batch.core.encoding import to_json
from routellm_batch.core.protocols import Store
from routellm_batch.core.types import Shard
from routellm_batch.core.worker import Worker
from routellm_batch.stages.call.job import CallJob
from routellm_batch.stages.call.responses import FINAL, copy_of, response_table, summarise, write_failed
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.ledger.epoch import exists
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.state import LedgerState
from routellm_batch.storage.prompts import input_columns
from routellm_batch.storage.responses import read_responses, response_path, response_paths, revision_of
from routellm_batch.storage.run import STAGE, marker_name, newest_markers
from routellm_batch.storage.tables import to_parquet

MOST_LEDGERS = 16
"""Ledgers of other shards that a process keeps in memory."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A shard that is to be delivered: its calls are done, or left out."""

    job: CallJob
    """What all tasks of this start share."""
    shard: Shard
    """The shard."""
    scores: pa.Table
    """Its score table."""
    copies: Mapping[int, tuple[int, int]]
    """Row → its owner's (shard, row)."""
    ledger: ShardLedger
    """Its ledger."""
    revision: int
    """0, or the number of this pass over rows that had failed or were unfunded; what is written has at least that."""
    worker: Worker
    """The process that writes it."""


def deliver(ending: Ending, state: LedgerState) -> None:
    """Write the shard's responses, then its marker.

    Args:
        ending: the shard.
        state: its ledger, as the task knows it.

    """
    write_failed(ending.job.run, ending.shard, ending.scores)
    if ending.revision == 0:
        final, receipt = _summary(ending, state)
        if _put(ending, 0, final, sorted(final)) and ending.job.run.commit(STAGE, ending.shard.name, receipt):
            return
    while not _catch_up(ending):
        pass  # another writer was faster, and may have known more


def _catch_up(ending: Ending) -> bool:
    """Write responses and a marker that hold all of the ledger; False if another writer wrote one of them meanwhile."""
    run = ending.job.run
    newest, after = _markers(ending)
    paths = _responses(ending)
    ending.worker.kept(OtherLedgers).forget()
    # Only now: whoever wrote those objects had read the ledger before, so this is all that they knew, and more.
    final, receipt = _summary(ending, ending.ledger.load(sure=True))
    rows = _changed(ending, paths, final)
    if rows and not _put(ending, _next(ending, paths), final, rows):
        return False
    is_marked = newest is not None and run.marker(STAGE, newest) == json.loads(to_json(receipt))
    return is_marked or run.commit(STAGE, after, receipt)


def _responses(ending: Ending) -> list[str]:
    """Return where the shard's responses are, even if the listing is stale."""
    paths = response_paths(ending.job.run, ending.shard.name)
    while exists(ending.job.run.store, path := response_path(ending.shard.name, _next(ending, paths))):
        paths.append(path)
    return paths


def _next(ending: Ending, paths: list[str]) -> int:
    """Return the revision of the responses that come after those at some paths."""
    return max(ending.revision, revision_of(paths[-1]) + 1 if paths else 0)


def _markers(ending: Ending) -> tuple[str | None, str]:
    """Return the shard's newest marker, even if the listing is stale, and the one that comes after it."""
    run, name = ending.job.run, ending.shard.name
    listed = newest_markers(run).get(name, -1)
    newest = marker_name(name, listed) if listed >= 0 else None
    number = max(ending.revision, listed + 1)
    while exists(run.store, f"commit/{STAGE}/{(after := marker_name(name, number))}.json"):
        newest, number = after, number + 1
    return newest, after


def _summary(ending: Ending, state: LedgerState) -> tuple[dict[int, CallRecord], dict[str, Any]]:
    """Return what a ledger adds up to: row → its final record, and the fields of the marker."""
    copies = {
        row: copy_of(owner, row)
        for row in ending.copies
        if (owner := _owner(ending, row, state.records)) is not None
    }
    final = {row: r for row, r in [*state.records.items(), *copies.items()] if r.status in FINAL}
    summary = summarise(ending.scores, state.records, copies, state)
    fields = {"rows": ending.scores.num_rows, "entries": ending.ledger.entries, "summary": summary.to_dict()}
    return final, fields


def _put(ending: Ending, revision: int, final: Mapping[int, CallRecord], rows: list[int]) -> bool:
    """Write some rows' responses; False if this revision holds other ones already."""
    config, run, shard = ending.job.config, ending.job.run, ending.shard
    columns = input_columns(config.input.columns, config.input.keep)
    whole = read_rows(run.files[shard.file], shard.start, shard.rows, columns)
    kept = whole.select(list(dict.fromkeys(config.input.keep)))
    table = response_table(config.label, ending.scores, kept, final, rows)
    return run.store.create(response_path(shard.name, revision), to_parquet(table))


def _changed(ending: Ending, paths: list[str], final: Mapping[int, CallRecord]) -> list[int]:
    """Return the rows whose final record differs from what ``responses/`` holds."""
    names = ["status", "error_kind", "attempts"]  # a row that was called again has more attempts
    written = read_responses(ending.job.run, paths, names)
    rows = [] if written is None else written.to_pylist()
    known = {row["id"]: tuple(row[name] for name in names) for row in rows}
    ids = ending.scores.column("id").to_pylist()
    now = {row: (r.status, r.error_kind, r.attempts) for row, r in final.items()}
    return [row for row in sorted(final) if known.get(ids[row]) != now[row]]


def _owner(ending: Ending, row: int, records: Mapping[int, CallRecord]) -> CallRecord | None:
    index, owner_row = ending.copies[row]
    if index == ending.shard.index:
        return records.get(owner_row)
    return ending.worker.kept(OtherLedgers).read(ending.job, index).records.get(owner_row)


class OtherLedgers:
    """What a process read last of other shards' ledgers; kept by its ``Worker``, and any thread may ask.

    All calls of a start are done by the time that its first one is read; a new start reads anew.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Read every ledger anew from now on."""
        self._read = lru_cache(maxsize=MOST_LEDGERS)(_read)

    def read(self, job: CallJob, index: int) -> LedgerState:
        """Return what the ledger of a shard of the job's run holds."""
        return self._read(job.run.store, job.run.shards[index].name, job.token)


def _read(store: Store, shard: str, _token: str) -> LedgerState:
    return ShardLedger(store, shard).load()
