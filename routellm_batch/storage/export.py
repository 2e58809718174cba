"""A run's rows as one file: Parquet, CSV or JSON lines, written shard by shard and put in its place whole.

A local file is written beside its place and moved there; for an object store it is written to a temporary folder first
and then uploaded, so that nobody reads a part of it.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from routellm_batch.core.errors import ConfigError, StoreError
from routellm_batch.storage.arrow_types import as_schema, is_text, value_type
from routellm_batch.storage.store import open_filesystem

ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
"""What a file's name may end in; it says the format."""
_FORMULA = r"^[=@\t\r]|^[+-][^0-9.\s]"
"""Text that a spreadsheet computes rather than shows."""


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


@dataclass
class Written:
    """What an export has written so far."""

    rows: int = 0
    """Rows."""
    formulas: int = 0
    """Cells of a CSV file that a spreadsheet would take for formulas."""


class Target:
    """The file that an export writes.

    Args:
        uri: a path, or a URI of any store; its ending says the format.
        force: whether a file that is there is replaced.

    Raises:
        ConfigError: the ending is none of ``ENDINGS``, or the file is there already.
        StoreError: the store is unknown or can't be read.

    """

    def __init__(self, uri: str, *, force: bool = False) -> None:
        self.uri = uri
        self.ending = next((one for one in ENDINGS if uri.lower().endswith(one)), "")
        if not self.ending:
            problem = f"{uri} must end in .parquet, .csv or .jsonl (the latter two also with .gz), which says the format"
            raise ConfigError("--to", problem)
        self._fs, self._path = open_filesystem(uri)
        self._local = isinstance(self._fs, LocalFileSystem)
        with _says_where(uri):
            there, folder = self._fs.exists(self._path), self._local and self._fs.isdir(self._path)
        if folder:
            raise ConfigError("--to", f"{uri} is a folder; name a file")
        if there and not force:
            raise ConfigError(
                "--to", f"{uri} is there already; add --force to replace it, or name another file"
            )

    @contextmanager
    def open(self, schema: pa.Schema) -> Iterator[TargetWriter]:
        """Write tables of one schema; the file is in its place once the block has ended without an error.

        Raises:
            StoreError: it can't be written.

        """
        with self._scratch() as scratch:
            with _says_where(self.uri):
                writer = TargetWriter(scratch, self.uri, self.ending, schema)
            try:
                yield writer
            finally:
                with _says_where(self.uri):
                    writer.close()
            with _says_where(self.uri):
                self._publish(scratch)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        if not self._local:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder) / "export"
            return
        place = Path(self._path)
        with _says_where(self.uri):
            place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.parent / f".{place.name}.{secrets.token_hex(6)}"
        try:
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)

    def _publish(self, scratch: Path) -> None:
        if self._local:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.replace(self._path)
        else:
            self._fs.put_file(str(scratch), self._path)


@contextmanager
def _says_where(uri: str) -> Iterator[None]:
    """Raise what the system or a store's client raises as an error that names the file."""
    try:
        yield
    except Exception as error:
        network = type(error).__module__.startswith(("botocore", "aiobotocore"))
        if not (network or isinstance(error, OSError)):
            raise
        reason = type(error).__name__
        message = f"{uri}: can't be written ({reason}); check the path, the space and the credentials"
        raise StoreError(message) from None


class TargetWriter:
    """Writes tables of one schema to a local file.

    Args:
        path: of the file.
        uri: what it is called in errors.
        ending: one of ``ENDINGS``.
        schema: of all tables.

    """

    def __init__(self, path: Path, uri: str, ending: str, schema: pa.Schema) -> None:
        self.written = Written()
        self._uri = uri
        self._schema = schema
        self._csv = ending.startswith(".csv")
        self._file: IO[bytes] | _Zipped = path.open("wb")
        if ending.endswith(".gz"):
            self._file = _Zipped(self._file)
        self._writer: _Writer
        if ending == ".parquet":
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd", version="2.6")
        elif self._csv:
            self._writer = pa_csv.CSVWriter(self._file, flat_schema(schema))
        else:
            self._writer = _Lines(self._file)

    def write(self, table: pa.Table) -> None:
        """Add a table's rows; its columns and types are brought to those of the schema.

        Raises:
            StoreError: the file can't be written.

        """
        table = as_schema(table, self._schema)
        self.written.rows += table.num_rows
        if self._csv:
            table = flat_table(table)
            self.written.formulas += _formulas(table)
        with _says_where(self._uri):
            self._writer.write(table)

    def close(self) -> None:
        """Close the file."""
        try:
            self._writer.close()
        finally:
            self._file.close()


class _Zipped(gzip.GzipFile):
    """Gzip without a time stamp; closes the file below it too."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="wb", mtime=0)
        self._below = file

    def close(self) -> None:
        """Close both files."""
        super().close()
        self._below.close()


class _Lines:
    def __init__(self, file: IO[bytes] | _Zipped) -> None:
        self._file = file

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                self._file.write(f"{to_line(row)}\n".encode())

    def close(self) -> None:
        """Nothing is held back."""


def to_line(value: Any) -> str:
    """Return a value of a row as JSON on one line: Decimals as text, times in ISO form, bytes in base64, NaN as null."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def flat_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of ``flat_table``."""
    return pa.schema([pa.field(field.name, _flat_type(field.type)) for field in schema])


def flat_table(table: pa.Table) -> pa.Table:
    """Return a table as CSV can hold it: lists, structs and maps as JSON, bytes in base64, dictionaries as their values."""
    columns = [
        column if column.type == (kind := _flat_type(column.type)) else _flat_column(column, kind)
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=flat_schema(table.schema))


def _flat_type(kind: pa.DataType) -> pa.DataType:
    kind, t = value_type(kind), pa.types
    plain = is_text(kind) and not (t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind))
    simple = (
        t.is_primitive(kind) or t.is_boolean(kind) or t.is_null(kind)
    )  # Arrow writes a Decimal of 0 as 0E-9
    return kind if (plain and not t.is_string_view(kind)) or simple else pa.string()


def _flat_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_nested(column.type) and kind != pa.string():
        return column.cast(kind)
    cells = [_cell(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, kind)])


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return to_line(value) if isinstance(value, dict | list) else str(_plain(value))


def _formulas(table: pa.Table) -> int:
    texts = (column for column in table.columns if is_text(column.type))
    return sum(int(pc.sum(pc.match_substring_regex(column, _FORMULA)).as_py() or 0) for column in texts)
