"""Arrow schemas of what a run writes, and the one way to Parquet bytes and back."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from routellm_batch.config.label_fields import FieldType
from routellm_batch.core.types import ROUTES

FIELD_TYPES: Mapping[FieldType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
"""Type of a label's field in its schema → type of its column."""
ID_TEXT = pa.string()
ID_INTEGER = pa.int64()


def score_schema(id_type: pa.DataType) -> pa.Schema:
    """Return the schema of ``score/<shard>.parquet``: one row for each input row, in input order."""
    return pa.schema(
        [
            ("row", pa.int32()),  # in the shard
            ("id", id_type),
            ("kind", pa.string()),  # why it is invalid; null for a valid row
            ("score", pa.float32()),  # null for an invalid row
            ("tie", pa.uint64()),  # keyed hash of the id
            ("content", pa.binary(16)),  # digest of the chat
            ("tokens", pa.int32()),  # expected input tokens
            ("bytes", pa.int32()),  # UTF-8 bytes of all turns, and part_tokens of what is no text
            ("turns", pa.int32()),
            ("chars", pa.int32()),  # of all turns; older runs lack it
        ]
    )


def failed_schema(id_type: pa.DataType) -> pa.Schema:
    """Return the schema of ``failed/<shard>.parquet``: the rows that are invalid."""
    return pa.schema([("id", id_type), ("file", pa.string()), ("row", pa.int64()), ("kind", pa.string())])


def response_schema(
    id_type: pa.DataType,
    kept: list[pa.Field],
    label: str | None,
    fields: Mapping[str, FieldType] | None = None,
) -> pa.Schema:
    """Return the schema of ``responses/<shard>.parquet``: every valid row once.

    Args:
        id_type: text or integers.
        kept: input columns that are kept.
        label: name of the label column, where there is one.
        fields: fields of a label that get columns of their own, with their types.

    """
    columns = [
        ("id", id_type),
        ("route", pa.string()),
        ("score", pa.float32()),
        ("model", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("status", pa.string()),
        ("error_kind", pa.string()),
        ("attempts", pa.int32()),
        ("input_tokens", pa.int64()),
        ("cached_input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("cost_usd", pa.decimal128(18, 9)),
        ("latency_s", pa.float64()),
        ("request_key", pa.string()),
    ]
    extra = [(label, pa.string())] if label is not None else []
    own = [(name, FIELD_TYPES[kind]) for name, kind in (fields or {}).items()]
    return pa.schema([*(pa.field(*f) for f in [*columns, *extra, *own]), *kept])


OUTCOME_COST = {
    "input_tokens": pa.int64(),
    "output_tokens": pa.int64(),
    "cost_usd": pa.decimal128(18, 9),
}
"""Columns of ``outcomes.parquet`` that each route has, ``<route>_<name>``: what its answer took."""


def outcome_schema(*more: tuple[str, pa.DataType]) -> pa.Schema:
    """Return the schema of ``outcomes.parquet``: prompts with both models' scores, tokens and cost, and ``more``."""
    return pa.schema(
        [
            ("prompt_id", pa.string()),
            ("prompt", pa.string()),
            ("strong_score", pa.float64()),
            ("weak_score", pa.float64()),
            *((f"{route}_{name}", kind) for route in ROUTES for name, kind in OUTCOME_COST.items()),
            *more,
        ]
    )


RESPONSE_COLUMNS = frozenset(response_schema(ID_TEXT, [], None).names)
"""Names that a kept input column or a label column can't have."""


def to_parquet(table: pa.Table) -> bytes:
    """Return a table as one Parquet file; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6")
    return bytes(sink.getvalue())


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Return the table of a Parquet file's bytes, or some of its columns."""
    # Not pq.read_table: it opens a data set first, which takes as long again as reading a small shard.
    return pq.ParquetFile(pa.BufferReader(data)).read(columns=columns)


def schema_of(data: bytes) -> pa.Schema:
    """Return the schema of a Parquet file's bytes."""
    return pq.ParquetFile(pa.BufferReader(data)).schema_arrow
