"""What a run's call markers say: which shards are done, and in which revision."""

from __future__ import annotations

from routellm_batch.storage.run import Run

STAGE = "call"


def marker_name(shard: str, revision: int) -> str:
    """Return the name of a shard's marker; a revision is a later pass over rows that were failed or unfunded."""
    return shard if revision == 0 else f"{shard}.r{revision}"


def newest_markers(run: Run) -> dict[str, int]:
    """Return each committed shard's newest revision."""
    newest: dict[str, int] = {}
    for name in run.committed(STAGE):
        shard, _, revision = name.partition(".r")
        newest[shard] = max(newest.get(shard, 0), int(revision or 0))
    return newest
