"""Where a shard's responses lie, and how their newest rows are read.

A later revision of a shard's responses holds only the rows that it changes, so the newest row of an id holds. All that
read responses do so here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from routellm_batch.core.errors import DataError
from routellm_batch.storage.arrow_types import as_schema, one_schema
from routellm_batch.storage.run import Run, open_existing
from routellm_batch.storage.tables import from_parquet

FOLDER = "responses"
AT_ONCE = 16
"""Shards that are read together: enough to hide a store's latency, few enough for memory."""


def response_path(shard: str, revision: int) -> str:
    """Return the path of a shard's responses; a later revision holds only the rows that it changes."""
    return f"{FOLDER}/{shard}.parquet" if revision == 0 else f"{FOLDER}/{shard}.r{revision}.parquet"


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
    paths = [o.path for o in run.store.list(FOLDER) if o.path.startswith(f"{FOLDER}/{shard}.")]
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
    wanted = None if columns is None else list(dict.fromkeys(["id", *columns]))
    return newest_rows([from_parquet(run.store.read(path), wanted) for path in paths])


def newest_rows(tables: Sequence[pa.Table]) -> pa.Table | None:
    """Return the newest row of each id in a shard's responses, the newest of which come last; None where there are none."""
    if len(tables) <= 1:
        return tables[0] if tables else None
    newest: dict[object, tuple[int, int]] = {}
    for at, table in enumerate(tables):
        newest.update({row_id: (at, n) for n, row_id in enumerate(table.column("id").to_pylist())})
    schema = one_schema([table.schema for table in tables])
    parts = [
        as_schema(table, schema).take(pa.array([n for at, n in newest.values() if at == number], pa.int64()))
        for number, table in enumerate(tables)
    ]
    return pa.concat_tables(parts)


def paths_by_shard(run: Run) -> dict[str, list[str]]:
    """Return the paths of every shard's responses, the newest last, by the shard's name and in the order of the input."""
    found: dict[str, list[str]] = {}
    for stored in run.store.list(FOLDER):
        name = stored.path.removeprefix(f"{FOLDER}/").partition(".")[0]
        found.setdefault(name, []).append(stored.path)
    return {shard: sorted(found[shard], key=revision_of) for shard in sorted(found)}


def each_shard(run: Run) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name and the newest rows of each shard that has responses, in input order; a few are in memory at once."""
    shards = list(paths_by_shard(run).items())
    for start in range(0, len(shards), AT_ONCE):
        some = shards[start : start + AT_ONCE]
        read = iter(run.store.read_many([path for _, paths in some for path in paths]))
        for shard, paths in some:
            tables = [from_parquet(next(read)) for _ in paths]
            rows = newest_rows(tables)
            if rows is not None:
                yield shard, rows if len(tables) == 1 else _in_input_order(run, shard, rows)


def read_all(run: Run) -> pa.Table | None:
    """Return the newest row of each id of a run, in input order, as one table; None where nothing was written yet."""
    tables = [table for _, table in each_shard(run)]
    if not tables:
        return None
    schema = one_schema([table.schema for table in tables])
    return pa.concat_tables([as_schema(table, schema) for table in tables])


def run_responses(run_uri: str) -> pa.Table:
    """Return ``read_all`` of the run in a folder.

    Raises:
        DataError: there is no run in the folder, or it has no responses yet.
        StoreError: the store can't be read.

    """
    run, _ = open_existing(run_uri)
    table = read_all(run)
    if table is None:
        raise DataError("this run has no responses yet; run its command, which resumes it", file=run_uri)
    return table


def _in_input_order(run: Run, shard: str, rows: pa.Table) -> pa.Table:
    ids = from_parquet(run.store.read(f"score/{shard}.parquet"), ["id"]).column("id")
    at = pc.index_in(rows.column("id").cast(ids.type), value_set=ids.combine_chunks())
    return rows.take(pc.sort_indices(at))
