"""Arrow types as the stages read them: every encoding of text is plain text, at any depth."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type whose views, at any depth, are plain ones: Arrow can't take rows out of views."""
    t = pa.types
    if t.is_string_view(kind):
        return pa.large_string()
    if t.is_binary_view(kind):
        return pa.large_binary()
    if t.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if t.is_dictionary(kind):
        return pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)
    if t.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if t.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type), kind.keys_sorted)
    if t.is_fixed_size_list(kind):
        field = kind.value_field
        same = plain_type(field.type) == field.type
        return kind if same else pa.list_(field.with_type(plain_type(field.type)))
    if t.is_large_list(kind) or t.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(plain_type(kind.value_type)))
    if t.is_list(kind) or t.is_list_view(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    return kind


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of the same values whose type is its ``plain_type``."""
    if pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array(
            [pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type
        )
    kind = plain_type(column.type)
    if kind == column.type:
        return column
    if _has_list_view(column.type):  # Arrow's cast of them loses their elements
        return pa.chunked_array([pa.array(column.to_pylist(), kind)])
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:  # dictionaries of views
        return pa.chunked_array([pa.array(column.to_pylist(), kind)])


def _has_list_view(kind: pa.DataType) -> bool:
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    return any(_has_list_view(kind.field(n).type) for n in range(kind.num_fields))


def plain_table(table: pa.Table) -> pa.Table:
    """Return a table of the same rows whose columns have plain types."""
    columns = [plain_column(column) for column in table.columns]
    fields = [field.with_type(column.type) for field, column in zip(table.schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values: of those that a dictionary or an extension type stands for."""
    if isinstance(kind, pa.BaseExtensionType):
        return value_type(kind.storage_type)
    encoded = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)
    return value_type(kind.value_type) if encoded else kind


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text: bytes are text too, as Parquet files may leave the encoding out."""
    t = pa.types
    views = t.is_string_view(kind) or t.is_binary_view(kind)
    return bool(
        views or t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind)
    )


def one_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return a schema that all tables of some schemas have as theirs by ``as_schema``, e.g. of an int32 and a double column.

    A column whose types have nothing in common is text.
    """
    distinct = list(dict.fromkeys(schema.remove_metadata() for schema in schemas))
    fields: dict[str, list[pa.Field]] = {}
    for one in (field for schema in distinct for field in schema):
        fields.setdefault(one.name, []).append(one)
    return pa.schema([_one_field(name, same) for name, same in fields.items()])


def _one_field(name: str, fields: Sequence[pa.Field]) -> pa.Field:
    try:
        merged = pa.unify_schemas([pa.schema([one]) for one in fields], promote_options="permissive")
    except pa.ArrowException:
        return pa.field(name, pa.string())
    return merged.field(0)


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns and types of a schema (see ``one_schema``); what it lacks is null."""
    columns = [
        _as_type(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowException:  # a list beside a number, say: both are text then
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)])
