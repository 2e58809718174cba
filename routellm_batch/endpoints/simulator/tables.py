"""Reading the Parquet files behind fake endpoints, once at the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from routellm_batch.core.errors import DataError, RoutellmBatchError
from routellm_batch.endpoints.simulator.model import Reference
from routellm_batch.endpoints.simulator.spec import BUILTIN, ReferenceSpec

CATEGORY = "category"
"""Optional column that groups the references."""
DEFAULT_DIFFICULTY = 0.5


def load_references(spec: ReferenceSpec) -> dict[str, Reference]:
    """Return prompt → right answer; rows without prompt or answer are skipped, and of equal prompts the first counts.

    Raises:
        DataError: the file or a column can't be used.

    """
    table = read_columns(spec.uri, [spec.prompt, spec.answer, spec.difficulty], optional=[CATEGORY])
    nothing: list[None] = [None] * table.num_rows
    prompts, answers = texts(table, spec.prompt, spec.uri), texts(table, spec.answer, spec.uri)
    difficulties = nothing if spec.difficulty is None else _floats(table, spec.difficulty, spec.uri)
    categories = texts(table, CATEGORY, spec.uri) if CATEGORY in table.column_names else nothing
    references: dict[str, Reference] = {}
    for prompt, answer, difficulty, category in zip(prompts, answers, difficulties, categories, strict=True):
        if prompt and answer:
            level = DEFAULT_DIFFICULTY if difficulty is None else difficulty
            references.setdefault(prompt, Reference(answer, level, category or ""))
    return references


def read_columns(uri: str, names: Sequence[str | None], *, optional: Sequence[str] = ()) -> pa.Table:
    """Read columns of one Parquet file: a local path, ``builtin:NAME``, or any fsspec URI.

    Raises:
        DataError: the file is absent, is not Parquet, or lacks a column that is not optional.

    """
    try:
        if "://" in uri or uri.startswith(BUILTIN):
            from routellm_batch.storage.store import open_filesystem

            fs, remote = open_filesystem(uri)
            with fs.open(remote, "rb") as handle:
                return _read(handle, uri, names, optional)
        return _read(Path(uri), uri, names, optional)
    except FileNotFoundError:
        raise DataError("no such file", file=uri) from None
    except pa.ArrowException:
        raise DataError("not a Parquet file, or a truncated one", file=uri) from None
    except RoutellmBatchError:
        raise
    except Exception as error:  # noqa: BLE001 - every driver has errors of its own
        from routellm_batch.storage.trouble import why

        raise DataError(why(uri, error), file=uri) from None


def _read(source: Any, uri: str, names: Sequence[str | None], optional: Sequence[str]) -> pa.Table:
    with pq.ParquetFile(source) as parquet:
        columns = parquet.schema_arrow.names
        wanted = list(dict.fromkeys(name for name in names if name is not None))
        for name in wanted:
            if name not in columns:
                raise DataError(f"no such column; there are: {', '.join(columns)}", file=uri, column=name)
        return parquet.read([*wanted, *(name for name in optional if name in columns)])


def texts(table: pa.Table, name: str, uri: str) -> list[str | None]:
    """Return the values of a column of text.

    Raises:
        DataError: the column has another type.

    """
    kind = table.schema.field(name).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_null(plain)):
        raise DataError(f"is {kind}; it must be text", file=uri, column=name)
    values: list[str | None] = table.column(name).cast(pa.string()).to_pylist()
    return values


def _floats(table: pa.Table, name: str, uri: str) -> list[float | None]:
    try:
        values: list[float | None] = table.column(name).cast(pa.float64()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError("must be numbers", file=uri, column=name) from None
    return values


def whole_numbers(table: pa.Table, name: str, uri: str) -> list[int | None]:
    """Return the values of a column of whole numbers.

    Raises:
        DataError: the column has another type.

    """
    try:
        values: list[int | None] = table.column(name).cast(pa.int64()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError("must be whole numbers", file=uri, column=name) from None
    return values
