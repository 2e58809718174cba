"""Finding, pinning, checking and reading the input files: Parquet on any fsspec store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from routellm_batch.config.job import InputConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile, Shard
from routellm_batch.storage.arrow_types import is_text, plain_table, value_type
from routellm_batch.storage.chats import is_chat
from routellm_batch.storage.store import open_filesystem

FOOTER_THREADS = 16
HASH_CHUNK_BYTES = 1 << 22


def find_files(uri: str) -> list[str]:
    """Return the full URIs of the files that an input URI names (a file, a glob or a folder), sorted.

    In a folder, names that begin with ``_`` or ``.`` are skipped, and so is all below such a folder.

    Raises:
        DataError: there is no such file, or the folder has none, or it may not be read.
        StoreError: the storage protocol is unknown.

    """
    fs, path = open_filesystem(uri)
    try:
        if fs.isfile(path):
            paths = [path]
        elif any(mark in path for mark in "*?["):
            paths = [p for p in fs.glob(path) if fs.isfile(p)]
        else:
            base = path.rstrip("/")
            paths = [p for p in fs.find(base) if not _hidden(p[len(base) :])]
    except PermissionError:
        raise DataError("may not be read; check the credentials", file=uri) from None
    except FileNotFoundError:
        paths = []
    if not paths:
        raise DataError("no such file, and no Parquet file is found there", file=uri)
    return sorted(fs.unstrip_protocol(p) for p in paths)


def _hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/") if part)


def pin_files(uris: Sequence[str], config: InputConfig, also: Sequence[str] = ()) -> list[InputFile]:
    """Read every footer, check the columns, and pin each file by size and ETag (sha256 where there is none).

    Args:
        uris: of the files.
        config: names the columns.
        also: further columns that each file must have.

    Raises:
        DataError: a file is not Parquet or truncated, a column is missing or of a wrong type, or there are no rows.

    """
    with ThreadPoolExecutor(min(FOOTER_THREADS, len(uris))) as pool:
        pinned = list(pool.map(lambda uri: _pin(uri, config, also), uris))
    kinds = {kind for _, kind in pinned}
    if len(kinds) > 1:
        other = next(file.uri for file, kind in pinned if kind != pinned[0][1])
        problem = f"holds {' and '.join(sorted(kinds))} ids; all files must have the same kind"
        raise DataError(problem, file=other, column=config.columns.id)
    if not any(sum(file.row_groups) for file, _ in pinned):
        raise DataError("holds no rows", file=config.uri)
    return [file for file, _ in pinned]


def _pin(uri: str, config: InputConfig, also: Sequence[str]) -> tuple[InputFile, str]:
    fs, path = open_filesystem(uri)
    try:
        info = fs.info(path)
        with fs.open(path, "rb") as handle:
            parquet = pq.ParquetFile(handle)
            schema = parquet.schema_arrow
            groups = tuple(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))
    except FileNotFoundError:
        raise DataError("no such file", file=uri) from None
    except (pa.ArrowInvalid, pa.ArrowException):
        raise DataError("not a Parquet file, or a truncated one; write it again", file=uri) from None
    except OSError as error:
        raise DataError(f"can't be read ({type(error).__name__})", file=uri) from None
    kind = _check_columns(schema, config, uri, also)
    etag = info.get("ETag") or info.get("etag")
    pin = f"etag:{str(etag).strip(chr(34))}" if etag else f"sha256:{_sha256(fs, path)}"
    return InputFile(uri, int(info["size"]), pin, groups), kind


def _sha256(fs: Any, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as handle:
        while chunk := handle.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_columns(schema: pa.Schema, config: InputConfig, uri: str, also: Sequence[str]) -> str:
    """Check presence and type of the columns; return the kind of the ids, text or integer."""
    columns = config.columns
    wanted = [columns.id, columns.prompt or columns.messages, columns.system, *config.keep, *also]
    for name in filter(None, wanted):
        if name not in schema.names:
            raise DataError(f"no such column; there are: {', '.join(schema.names)}", file=uri, column=name)
        if schema.names.count(name) > 1:
            problem = "two columns have this name; rename one of them and write the file again"
            raise DataError(problem, file=uri, column=name)
    id_type = value_type(schema.field(columns.id).type)
    if not (is_text(id_type) or pa.types.is_integer(id_type)):
        raise DataError(f"is {id_type}; ids must be text or integers", file=uri, column=columns.id)
    for name in filter(None, (columns.prompt, columns.system)):
        kind = value_type(schema.field(name).type)
        if not is_text(kind):
            raise DataError(f"is {kind}; it must be text", file=uri, column=name)
    if columns.messages is not None:
        kind = value_type(schema.field(columns.messages).type)
        if not (is_text(kind) or is_chat(kind)):
            problem = f"is {kind}; it must be a list of {{role, content}}, or such a list as JSON text"
            raise DataError(problem, file=uri, column=columns.messages)
    return "integer" if pa.types.is_integer(id_type) else "text"


def shards_of(files: Sequence[InputFile], shard_rows: int) -> list[Shard]:
    """Return every file cut into shards of at most ``shard_rows`` consecutive rows; row groups are split or merged."""
    shards: list[Shard] = []
    for number, file in enumerate(files):
        total = sum(file.row_groups)
        for start in range(0, total, shard_rows):
            shards.append(Shard(len(shards), number, start, min(shard_rows, total - start)))
    return shards


def read_rows(file: InputFile, start: int, rows: int, columns: Sequence[str]) -> pa.Table:
    """Return some columns of consecutive rows of one file, of which only the row groups that hold them are read.

    Args:
        file: as it was pinned.
        start: first row.
        rows: how many.
        columns: their names.

    Raises:
        DataError: the file changed or was damaged since it was pinned.

    """
    parts: list[pa.Table] = []
    offset = 0
    for group, count in enumerate(file.row_groups):
        low, high = max(start, offset), min(start + rows, offset + count)
        if low < high:
            table = _row_group(file, group, tuple(columns))
            parts.append(table.slice(low - offset, high - low))
        offset += count
    return pa.concat_tables(parts)


@lru_cache(maxsize=2)
def _row_group(file: InputFile, group: int, columns: tuple[str, ...]) -> pa.Table:
    """Return one row group, decoded; cached, as consecutive shards often lie in the same one."""
    fs, path = open_filesystem(file.uri)
    try:
        # Arrow's own threads must not call into Python: they and a garbage collection can wait for each other.
        with fs.open(path, "rb") as handle, pq.ParquetFile(handle, pre_buffer=False) as parquet:
            table = parquet.read_row_group(group, columns=list(columns), use_threads=False)
    except FileNotFoundError:
        raise DataError("is gone since the run began; put the file back", file=file.uri) from None
    except (
        pa.ArrowInvalid,
        pa.ArrowException,
        IndexError,
        OSError,
    ):  # pyarrow reports damage in all these ways
        raise _damaged(file, group) from None
    if table.num_rows != file.row_groups[group]:
        raise _damaged(file, group)
    return plain_table(table)


def _damaged(file: InputFile, group: int) -> DataError:
    return DataError(f"row group {group} can't be read; the file is damaged or has changed", file=file.uri)
