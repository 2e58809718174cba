"""Where a shard's responses lie, and how their newest rows are read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet


def response_path(shard: str, revision: int) -> str:
    """Return the path of a shard's responses; a later revision holds only the rows that it changes."""
    return f"responses/{shard}.parquet" if revision == 0 else f"responses/{shard}.r{revision}.parquet"


def read_shard_responses(run: Run, shard: str, columns: list[str] | None = None) -> pa.Table | None:
    """Return a shard's responses, the newest row of each id; None where none was written yet.

    Args:
        run: the run.
        shard: its name.
        columns: to read, besides the id; None reads all.

    """
    return read_responses(run, response_paths(run, shard), columns)


def response_paths(run: Run, shard: str) -> list[str]:
    """Return the paths of a shard's responses, the newest last."""
    paths = [o.path for o in run.store.list("responses") if o.path.startswith(f"responses/{shard}.")]
    return sorted(paths, key=revision_of)


def revision_of(path: str) -> int:
    """Return the revision of the responses at a path."""
    stem = path.removesuffix(".parquet").rpartition(".r")
    return int(stem[2]) if stem[1] else 0


def read_responses(run: Run, paths: Sequence[str], columns: list[str] | None = None) -> pa.Table | None:
    """Return the newest row of each id in some responses, the newest of which is the last; None where there is none.

    Args:
        run: the run.
        paths: of the responses.
        columns: to read, besides the id; None reads all.

    """
    if not paths:
        return None
    wanted = None if columns is None else list(dict.fromkeys(["id", *columns]))
    newest: dict[object, tuple[int, int]] = {}
    tables: list[pa.Table] = []
    for path in paths:
        table = from_parquet(run.store.read(path), wanted)
        newest.update({row_id: (len(tables), n) for n, row_id in enumerate(table.column("id").to_pylist())})
        tables.append(table)
    parts = [
        t.take(pa.array([n for at, n in newest.values() if at == number], pa.int64()))
        for number, t in enumerate(tables)
    ]
    return pa.concat_tables(parts)
