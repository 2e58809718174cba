"""Finding, pinning, checking and reading the input files: Parquet on any fsspec store."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from routellm_batch.config.job import InputConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile, Shard
from routellm_batch.storage.arrow_types import is_text, plain_table, value_type
from routellm_batch.storage.chats import is_chat
from routellm_batch.storage.dataset import (
    FileColumns,
    as_data_set,
    names_in_path,
    pinned_columns,
    unify,
)
from routellm_batch.storage.store import open_filesystem
from routellm_batch.storage.trouble import explained, in_words, lacks_bucket, store_error, why, within

FOOTER_THREADS = 16
ENDINGS = (".parquet", ".parq", ".pq")
ENCRYPTED = b"PARE"
MAGIC = (b"PAR1", ENCRYPTED)
"""What Parquet files begin with."""
NAMED = 5
"""Names of other files that are said."""
HASH_CHUNK_BYTES = 1 << 22

log = logging.getLogger(__name__)


def find_files(uri: str) -> list[str]:
    """Return the full URIs of the files that an input URI names (a file, a glob or a folder), sorted.

    A URI that names what is there is that, whatever signs it has; else ``*``, ``?`` and ``[`` make it a glob. In a
    folder, names that begin with ``_`` or ``.`` are skipped, and so is all below such a folder. Of what a folder or a
    glob gives, files that are not Parquet are left out, with a warning that names some.

    Raises:
        DataError: there is no such file, or the folder has none, or it may not be read.
        StoreError: the storage protocol is unknown, or the store can't be used: no credentials, access denied, no such
            bucket, no answer.

    """
    fs, path = open_filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return _find(fs, path, uri)
    return list(within(uri, _find, fs, path, uri))


def _find(fs: Any, path: str, uri: str) -> list[str]:
    with in_words(uri, but=(PermissionError, FileNotFoundError)):
        try:
            if fs.isfile(path):
                return [str(fs.unstrip_protocol(path))]
            if any(mark in path for mark in "*?[") and not fs.isdir(path):
                listed = fs.glob(path) or fs.glob(path.replace("[", "[[]"))
                paths = [p for p in listed if fs.isfile(p)]
            else:
                base = path.rstrip("/")
                if isinstance(fs, LocalFileSystem) and os.path.isdir(base):  # noqa: PTH112 - paths are strings
                    os.listdir(base)  # noqa: PTH208 - a listing of a folder that may not be read is empty
                paths = [p for p in fs.find(base) if not _hidden(p[len(base) :])]
        except PermissionError as error:
            if not isinstance(fs, LocalFileSystem):
                raise store_error(uri, explained(fs, path, error)) from None
            raise DataError("may not be read; check its permissions", file=uri) from None
        except FileNotFoundError:
            paths = []
    taken = _only_parquet(fs, paths, uri)
    if not taken:
        _check_bucket(fs, path, uri)
        there = f"; there are: {_some(paths)}" if paths else ""
        raise DataError(f"no such file, and no Parquet file is found there{there}", file=uri)
    return sorted(str(fs.unstrip_protocol(p)) for p in taken)


def _check_bucket(fs: Any, path: str, uri: str) -> None:
    """Tell a bucket that is absent from one that lacks what is named.

    Raises:
        StoreError: it is absent.

    """
    if isinstance(fs, LocalFileSystem):
        return
    try:
        fs.ls(path.strip("/").partition("/")[0])
    except Exception as error:  # noqa: BLE001 - only what is known for sure is said
        if lacks_bucket(error):
            raise store_error(uri, error) from None


def _only_parquet(fs: Any, paths: Sequence[str], uri: str) -> list[str]:
    """Return the paths of Parquet files: by their ending, or else by their first bytes."""
    taken = [p for p in paths if p.lower().endswith(ENDINGS) or _begins_as_parquet(fs, p)]
    left = sorted(set(paths) - set(taken))
    if taken and left:
        log.warning("%s: %d files are not Parquet and are not read: %s", uri, len(left), _some(left))
    return taken


def _begins_as_parquet(fs: Any, path: str) -> bool:
    try:
        return fs.cat_file(path, start=0, end=4) in MAGIC
    except Exception:  # noqa: BLE001 - what can't be looked into is no input
        return False


def _some(paths: Sequence[str]) -> str:
    names = [path.rpartition("/")[2] for path in sorted(paths)]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


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
        footers = list(pool.map(_footer, uris))
    files = [FileColumns(file.uri, schema) for file, schema in footers]
    wanted = _wanted(config, also)
    for file in files:
        _check_names(file, wanted)
    kinds = [_check_types(file, config) for file in files]
    known = {kind for kind in kinds if kind}
    if len(known) > 1:
        first = next(kind for kind in kinds if kind)
        other = next(file.uri for file, kind in zip(files, kinds, strict=True) if kind not in {first, ""})
        problem = f"holds {' and '.join(sorted(known))} ids; all files must have the same kind"
        raise DataError(problem, file=other, column=config.columns.id)
    if not any(sum(file.row_groups) for file, _ in footers):
        raise DataError("holds no rows", file=config.uri)
    # Chats are decoded file by file, so their structs may differ.
    types = unify(files, [name for name in wanted if name != config.columns.messages])
    _check_null(types, config)
    return [
        replace(file, columns=pinned_columns(columns, types))
        for (file, _), columns in zip(footers, files, strict=True)
    ]


def _footer(uri: str) -> tuple[InputFile, pa.Schema]:
    fs, path = open_filesystem(uri)
    with in_words(uri, but=(FileNotFoundError, pa.ArrowException, OSError)):
        try:
            info = fs.info(path)
            with fs.open(path, "rb") as handle:
                parquet = pq.ParquetFile(handle)
                schema = parquet.schema_arrow
                groups = tuple(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))
            etag = info.get("ETag") or info.get("etag")
            pin = f"etag:{str(etag).strip(chr(34))}" if etag else f"sha256:{_sha256(fs, path)}"
        except FileNotFoundError:
            raise DataError("no such file", file=uri) from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(_unreadable(fs, path, error, uri), file=uri) from None
    return InputFile(uri, int(info["size"]), pin, groups), schema


def _unreadable(fs: Any, path: str, error: Exception, uri: str) -> str:
    try:
        begins = fs.cat_file(path, start=0, end=4)
    except Exception:  # noqa: BLE001 - then the first error says why
        return (
            "may not be read; check its permissions"
            if isinstance(error, PermissionError)
            else why(uri, error)
        )
    if begins == ENCRYPTED or "ncrypt" in str(error):
        return "is an encrypted Parquet file; write it again without encryption"
    return "not a Parquet file, or a truncated one; write it again"


def _sha256(fs: Any, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as handle:
        while chunk := handle.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _wanted(config: InputConfig, also: Sequence[str]) -> list[str]:
    columns = config.columns
    names = [columns.id, columns.prompt or columns.messages, columns.system, *config.keep, *also]
    return list(dict.fromkeys(name for name in names if name))


def _check_names(file: FileColumns, wanted: Sequence[str]) -> None:
    """Check that a file, or its path, has each column once."""
    for name in wanted:
        if name not in file.names:
            problem = f"no such column; there are: {', '.join(file.names)}"
            raise DataError(problem, file=file.uri, column=name)
        if file.schema.names.count(name) > 1:
            problem = "two columns have this name; rename one of them and write the file again"
            raise DataError(problem, file=file.uri, column=name)


def _check_types(file: FileColumns, config: InputConfig) -> str:
    """Check the types of the columns that are read as ids and prompts, but for those without any value.

    Returns:
        The kind of the ids, text or integer; "" where the file does not say.

    """
    columns, schema = config.columns, file.schema
    types = {
        name: value_type(schema.field(name).type) for name in schema.names if schema.names.count(name) == 1
    }
    id_type = types.get(columns.id)
    if id_type is not None and not (
        is_text(id_type) or pa.types.is_integer(id_type) or pa.types.is_null(id_type)
    ):
        raise DataError(f"is {id_type}; ids must be text or integers", file=file.uri, column=columns.id)
    for name in filter(None, (columns.prompt, columns.system)):
        kind = types.get(name, pa.string())
        if not (is_text(kind) or pa.types.is_null(kind)):
            raise DataError(f"is {kind}; it must be text", file=file.uri, column=name)
    if columns.messages is not None:
        kind = types.get(columns.messages, pa.string())
        if not (is_text(kind) or is_chat(kind) or pa.types.is_null(kind)):
            problem = f"is {kind}; it must be a list of {{role, content}}, or such a list as JSON text"
            raise DataError(problem, file=file.uri, column=columns.messages)
    if id_type is None or pa.types.is_null(id_type):
        return ""
    return "integer" if pa.types.is_integer(id_type) else "text"


def _check_null(types: Mapping[str, pa.DataType], config: InputConfig) -> None:
    """Refuse ids and prompts that no file has a value of."""
    for name, what in (
        (config.columns.id, "ids must be text or integers"),
        (config.columns.prompt, "it must be text"),
    ):
        if name is not None and pa.types.is_null(types[name]):
            raise DataError(f"is null in every row; {what}", file=config.uri, column=name)


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
    in_path = names_in_path(file)
    own = tuple(name for name in columns if name not in in_path)
    parts: list[pa.Table] = []
    offset = 0
    for group, count in enumerate(file.row_groups):
        low, high = max(start, offset), min(start + rows, offset + count)
        if low < high:
            table = _row_group(file, group, own)
            parts.append(table.slice(low - offset, high - low))
        offset += count
    return as_data_set(pa.concat_tables(parts), file, columns)


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
