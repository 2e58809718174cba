"""Many files as one data set: one type for each column, whatever each file calls it, and columns that are in paths."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile
from routellm_batch.storage.arrow_types import plain_column, plain_type, value_type

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What a folder of rows without a value is named."""
IN_PATH = {"in": "path"}
"""Metadata of a pinned column that is in a file's path alone."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class FileColumns:
    """What one file says of its columns."""

    uri: str
    """Full URI."""
    schema: pa.Schema
    """Of the file."""

    @property
    def names(self) -> list[str]:
        """Names of the columns in the file and in its path; a name that is in both is the file's."""
        return [*self.schema.names, *(n for n in partitions_of(self.uri) if n not in self.schema.names)]


def partitions_of(uri: str) -> Mapping[str, str | None]:
    """Return the columns that the folders of a path name, as in ``date=2026-11-23/lang=de/part.parquet``."""
    folders = [part.partition("=") for part in uri.split("/")[:-1]]
    pairs = {unquote(name): unquote(value) for name, mark, value in folders if name and mark}
    return {name: None if value == HIVE_NULL else value for name, value in pairs.items()}


def unify(files: Sequence[FileColumns], names: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the one type that each of some columns has in the whole data set.

    A column that is null in one file has the type of the others; integers and floats of different widths, texts of
    different encodings and times of different units have a type that holds them all. Where all files agree, the type
    is theirs.

    Raises:
        DataError: two files hold what no type holds; the text names both, and the column.

    """
    types: dict[str, pa.DataType] = {}
    for name in dict.fromkeys(names):
        numbers = _partition_is_integer(files, name)
        own = [(file.uri, _type_in(file, name, numbers=numbers)) for file in files if name in file.names]
        if own:
            types[name] = _common(name, own)
    return types


def _partition_is_integer(files: Sequence[FileColumns], name: str) -> bool:
    values = [partitions_of(file.uri).get(name) for file in files if name not in file.schema.names]
    texts = [value for value in values if value is not None]
    return bool(texts) and all(_INTEGER.fullmatch(text) for text in texts)


def _type_in(file: FileColumns, name: str, *, numbers: bool) -> pa.DataType:
    if name in file.schema.names:
        return file.schema.field(name).type
    return pa.int64() if numbers else pa.string()


def _common(name: str, own: Sequence[tuple[str, pa.DataType]]) -> pa.DataType:
    distinct = {kind: uri for uri, kind in reversed(own)}
    if len(distinct) == 1:
        return own[0][1]
    first_uri, first = next((one for one in own if not pa.types.is_null(one[1])), own[0])
    common = first
    for kind, uri in distinct.items():
        try:
            common = _both(common, kind)
            pa.chunked_array([pa.array([], plain_type(kind))]).cast(common)
        except pa.ArrowException:
            problem = f"is {kind}, but {first} in {first_uri}; write the files again with one type"
            raise DataError(problem, file=uri, column=name) from None
    return common


def _both(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("c", plain_type(value_type(kind)))]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field("c").type


def pinned_columns(file: FileColumns, types: Mapping[str, pa.DataType]) -> str:
    """Return what ``InputFile.columns`` holds: the data set's columns that this file spells otherwise."""
    names = file.schema.names
    fields = [
        pa.field(name, kind, metadata=None if name in names else IN_PATH)
        for name, kind in types.items()
        if name in file.names and (name not in names or file.schema.field(name).type != kind)
    ]
    return base64.b64encode(pa.schema(fields).serialize().to_pybytes()).decode() if fields else ""


def pinned_schema(file: InputFile) -> pa.Schema:
    """Return the columns that a file spells otherwise than the data set, with the data set's types."""
    if not file.columns:
        return pa.schema([])
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(file.columns)))


def names_in_path(file: InputFile) -> frozenset[str]:
    """Return the names of the pinned columns that are in a file's path alone."""
    return frozenset(field.name for field in pinned_schema(file) if field.metadata)


def as_data_set(table: pa.Table, file: InputFile, columns: Sequence[str]) -> pa.Table:
    """Return the rows of a file as the data set's: some columns of it, with the data set's types.

    Raises:
        DataError: a value does not fit its column's type.

    """
    wanted, in_path = pinned_schema(file), names_in_path(file)
    if not wanted.names:
        return table
    arrays = []
    for name in columns:
        if name in in_path:
            constant = pa.scalar(partitions_of(file.uri)[name], pa.string()).cast(wanted.field(name).type)
            arrays.append(pa.chunked_array([pa.repeat(constant, table.num_rows)]))
            continue
        column = table.column(name)
        if name in wanted.names and column.type != wanted.field(name).type:
            column = _cast(column, wanted.field(name).type, file, name)
        arrays.append(column)
    return pa.table(arrays, names=list(columns))


def _cast(column: pa.ChunkedArray, kind: pa.DataType, file: InputFile, name: str) -> pa.ChunkedArray:
    column = plain_column(column)
    try:
        while (inner := value_type(column.type)) != column.type:
            column = plain_column(column.cast(inner))
        return column.cast(kind)
    except pa.ArrowException:
        problem = (
            f"holds a value that {kind} can't hold, the type that this column has in the whole data set; "
            "write the files again with one type"
        )
        raise DataError(problem, file=file.uri, column=name) from None
