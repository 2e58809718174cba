"""Reading labelled Parquet files whole: outcomes, score matrices and battles have thousands of rows, not millions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.storage.dataset import FileColumns, partitions_of, unify
from routellm_batch.storage.inputs import find_files
from routellm_batch.storage.store import open_filesystem
from routellm_batch.storage.trouble import why


def read_table(uri: str) -> pa.Table:
    """Return the rows of a Parquet file, or of a glob or a folder of them, as one table.

    Raises:
        DataError: there is no file, one is not Parquet, a column has different types in two files, or there are no rows.
        StoreError: the storage protocol is unknown.

    """
    files = find_files(uri)
    parts = _with_path_columns(files, [_read_file(file) for file in files])
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        raise DataError("its files have columns of different types", file=uri) from None
    if table.num_rows == 0:
        raise DataError("holds no rows", file=uri)
    return table


def _with_path_columns(files: Sequence[str], parts: Sequence[pa.Table]) -> list[pa.Table]:
    """Return the tables of some files with the columns that the files' paths name, as a run reads them."""
    known = [FileColumns(uri, part.schema) for uri, part in zip(files, parts, strict=True)]
    names = [name for file in known for name in file.names if name not in file.schema.names]
    types, whole = unify(known, names), list[pa.Table]()
    for file, part in zip(known, parts, strict=True):
        columns = part
        for name, value in partitions_of(file.uri).items():
            if name not in part.column_names:
                constant = pa.scalar(value, pa.string()).cast(types[name])
                columns = columns.append_column(name, pa.repeat(constant, part.num_rows))
        whole.append(columns)
    return whole


def _read_file(uri: str) -> pa.Table:
    fs, path = open_filesystem(uri)
    try:
        with fs.open(path, "rb") as handle:
            return pq.ParquetFile(handle).read()
    except (pa.ArrowInvalid, pa.ArrowException):
        raise DataError("not a Parquet file, or a truncated one; write it again", file=uri) from None
    except Exception as error:  # noqa: BLE001 - every driver has errors of its own
        raise DataError(why(uri, error), file=uri) from None


def require(table: pa.Table, names: Sequence[str], uri: str) -> None:
    """Check that a table has some columns.

    Raises:
        DataError: it lacks one; the text lists those that it has.

    """
    for name in names:
        if name not in table.column_names:
            raise DataError(
                f"no such column; there are: {', '.join(table.column_names)}", file=uri, column=name
            )


def texts(table: pa.Table, name: str, uri: str) -> list[str]:
    """Return a column of texts.

    Raises:
        DataError: the column is not text, or a row of it is null.

    """
    column = _plain(table.column(name))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(f"is {column.type}; it must be text", file=uri, column=name)
    _refuse(pc.is_null(column), "is null", uri, name)
    return [str(value) for value in column.to_pylist()]


def numbers(table: pa.Table, name: str, uri: str) -> NDArray[np.float64]:
    """Return a column of finite numbers, float64 [N].

    Raises:
        DataError: the column is not numeric, or a row of it is null, infinite or NaN.

    """
    column = _plain(table.column(name))
    if not (
        pa.types.is_floating(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_boolean(column.type)
    ):
        raise DataError(f"is {column.type}; it must be a number", file=uri, column=name)
    values = (
        column.cast(pa.float64()) if not pa.types.is_boolean(column.type) else pc.cast(column, pa.uint8())
    )
    array = np.array(values.to_pylist(), dtype=np.float64)
    _refuse(pa.array(~np.isfinite(array)), "is null or not a finite number", uri, name)
    return array


def labels(table: pa.Table, name: str) -> list[str]:
    """Return a column as texts, null as "" and booleans in lower case; all "" where the table lacks it."""
    if name not in table.column_names:
        return [""] * table.num_rows
    values = table.column(name).to_pylist()
    return ["" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _refuse(bad: pa.Array | pa.ChunkedArray, problem: str, uri: str, name: str) -> None:
    row = pc.index(bad, pa.scalar(value=True)).as_py()
    if row >= 0:
        raise DataError(problem, file=uri, column=name, row=row)
