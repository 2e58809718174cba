"""What a run's call markers say: which shards are done, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from routellm_batch.storage.run import Run
from routellm_batch.summary import CallSummary

STAGE = "call"
THREADS = 8


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """A committed shard's newest marker."""

    revision: int
    failed: int = 0
    unfunded: int = 0
    spent_nano: int = 0
    """Settled and presumed."""


def newest_markers(run: Run) -> dict[str, int]:
    """Return each committed shard's newest revision."""
    newest: dict[str, int] = {}
    for name in run.committed(STAGE):
        shard, _, revision = name.partition(".r")
        newest[shard] = max(newest.get(shard, 0), int(revision or 0))
    return newest


def call_statuses(run: Run, *, details: bool) -> dict[str, ShardStatus]:
    """Return the committed shards; without ``details`` the markers are not read."""
    newest = newest_markers(run)
    if not details:
        return {shard: ShardStatus(revision) for shard, revision in newest.items()}
    return {
        shard: ShardStatus(newest[shard], s.failed, s.unfunded, s.spent_nano + s.presumed_nano)
        for shard, s in summaries(run)
    }


def summaries(run: Run) -> Iterator[tuple[str, CallSummary]]:
    """Yield each committed shard's newest summary."""
    newest = newest_markers(run)

    def read(shard: str) -> tuple[str, CallSummary]:
        name = shard if newest[shard] == 0 else f"{shard}.r{newest[shard]}"
        return shard, CallSummary.from_dict(run.marker(STAGE, name)["summary"])

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(read, sorted(newest))
