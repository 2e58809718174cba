"""A run's responses as one clean file: every valid row once, its newest revision, in input order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from routellm_batch.core.errors import StoreError
from routellm_batch.pipeline.outputs import Outputs, RunResult, finished_exit
from routellm_batch.reporting.text import count, public_uri, rows
from routellm_batch.stages.plan.files import load_plan
from routellm_batch.storage.arrow_types import as_schema, one_schema
from routellm_batch.storage.export import Target
from routellm_batch.storage.responses import each_shard, paths_by_shard
from routellm_batch.storage.run import Run, open_existing
from routellm_batch.storage.tables import from_parquet, response_schema, schema_of

INCOMPLETE = 3
"""Exit code of an export whose run is not finished."""
INVALID = "invalid"
"""``status`` of a row that could not be sent."""


def export_rows(run_uri: str, target: str, *, force: bool = False, failed: bool = False) -> RunResult:
    """Write a run's responses to one file, or the rows that have no answer.

    Args:
        run_uri: folder of the run.
        target: the file; its ending says the format.
        force: whether a file that is there is replaced.
        failed: whether to write failed and invalid rows instead of all valid ones.

    Raises:
        DataError: there is no run at the URI.
        ConfigError: the file's ending is unknown, or the file is there already.
        StoreError: storage can't be read, or the file can't be written.

    """
    run, manifest = open_existing(run_uri)
    place = Target(target, force=force)
    try:
        counts = _write(run, manifest["job"], place, failed=failed)
        return _result(run, target, counts)
    except OSError as error:
        message = f"{run.uri}: can't be read ({type(error).__name__}); check the path and the credentials"
        raise StoreError(message) from None


def _write(run: Run, job: Mapping[str, Any], place: Target, *, failed: bool) -> _Counts:
    schema = _schema(run, job)
    places = _place_names(schema)
    if failed:
        schema = pa.schema([*schema, pa.field(places[0], pa.string()), pa.field(places[1], pa.int64())])
    seen = 0
    with place.open(schema) as writer:
        for shard, table in _tables(run, failed=failed):
            seen += table.num_rows
            writer.write(_without_answer(run, shard, table, places) if failed else table)
    return _Counts(writer.written.rows, seen, writer.written.formulas, failed)


@dataclass(frozen=True, slots=True)
class _Counts:
    written: int
    """Rows of the file."""
    answered: int
    """Valid rows of the run that have a line in ``responses/``."""
    formulas: int
    """Cells that a spreadsheet would take for formulas."""
    failed: bool
    """Whether the file has the rows without an answer."""


def _result(run: Run, target: str, counts: _Counts) -> RunResult:
    what = "failed or invalid " if counts.failed else ""
    noun = "row" if counts.written == 1 else "rows"
    lines = [f"Wrote {count(counts.written)} {what}{noun} to {public_uri(target)}."]
    if counts.formulas:
        cells = "1 cell begins" if counts.formulas == 1 else f"{count(counts.formulas)} cells begin"
        lines.append(
            f"Note: {cells} with =, +, - or @, which a spreadsheet takes for a formula; import its columns as text."
        )
    finished = finished_exit(run) is not None
    if not finished:
        lines.append(_missing_text(run, counts))
    code = 0 if finished else INCOMPLETE
    return RunResult(code, run.uri, Outputs(code, lines))


def _missing_text(run: Run, counts: _Counts) -> str:
    plan, total = load_plan(run), sum(shard.rows for shard in run.shards)
    if plan is None:
        return f"The run is not finished: all of its {rows(total)} are missing, as none has been called yet."
    missing = max(0, plan.valid - counts.answered)
    verb = "is" if missing == 1 else "are"
    return (
        f"The run is not finished: {rows(missing)} of {count(plan.valid)} {verb} missing. "
        "Run its command again, which resumes it, and then export it again with --force."
    )


def _schema(run: Run, job: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of all responses: those of a shard of each input file, as kept columns have that file's types."""
    paths, read = paths_by_shard(run), dict[int, pa.Schema]()
    for shard in run.shards:
        if shard.file not in read and shard.name in paths:
            read[shard.file] = schema_of(run.store.read(paths[shard.name][-1]))
    if read:
        return one_schema(list(read.values()))
    scored = next(
        iter(run.store.list("score")), None
    )  # No row is answered yet, so types are as far as they are known.
    id_type = pa.string() if scored is None else schema_of(run.store.read(scored.path)).field("id").type
    kept = [pa.field(name, pa.null()) for name in job["input"].get("keep", ())]
    return response_schema(id_type, kept, (job.get("label") or {}).get("column"))


def _place_names(schema: pa.Schema) -> tuple[str, str]:
    """Return the names of the columns that say where a row lies in the input; a kept column of that name comes first."""
    file, row = (name if name not in schema.names else f"input_{name}" for name in ("file", "row"))
    return file, row


def _tables(run: Run, *, failed: bool) -> Iterator[tuple[str, pa.Table]]:
    """Yield each shard's responses; where invalid rows are asked for, an empty one for a shard that has no others."""
    if not failed:
        yield from each_shard(run)
        return
    invalid = {
        stored.path.removeprefix("failed/").removesuffix(".parquet") for stored in run.store.list("failed")
    }
    for shard, table in each_shard(run):
        invalid.discard(shard)
        yield shard, table
    for shard in sorted(invalid):
        yield shard, response_schema(pa.string(), [], None).empty_table()


def _without_answer(run: Run, shard: str, table: pa.Table, places: tuple[str, str]) -> pa.Table:
    """Return a shard's failed and invalid rows with where they lie in the input, in input order."""
    lost = table.filter(pc.equal(table.column("status"), "failed"))
    parts = []
    if lost.num_rows:
        ids = from_parquet(run.store.read(f"score/{shard}.parquet"), ["id"]).column("id")
        here = run.shards[int(shard)]
        at = pc.index_in(lost.column("id").cast(ids.type), value_set=ids.combine_chunks())
        files = pa.array([run.files[here.file].uri] * lost.num_rows, pa.string())
        parts.append(
            lost.append_column(places[0], files).append_column(
                places[1], pc.add(at.cast(pa.int64()), here.start)
            )
        )
    if run.store.exists(f"failed/{shard}.parquet"):
        invalid = from_parquet(run.store.read(f"failed/{shard}.parquet"))
        status = pa.array([INVALID] * invalid.num_rows, pa.string())
        names = {"kind": "error_kind", "file": places[0], "row": places[1]}
        invalid = invalid.rename_columns([names.get(name, name) for name in invalid.column_names])
        parts.append(invalid.append_column("status", status))
    if not parts:
        return lost
    schema = one_schema([part.schema for part in parts])
    whole = pa.concat_tables([as_schema(part, schema) for part in parts])
    return whole.take(pc.sort_indices(whole.column(places[1])))
