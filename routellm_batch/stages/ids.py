"""Null and duplicate ids stop a run before anything is spent; the first three are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from routellm_batch.errors import DataError
from routellm_batch.storage.run import Run

NAMED = 3


def check_nulls(nulls: Sequence[tuple[int, int]], run: Run, column: str) -> None:
    """Refuse null ids.

    Args:
        nulls: (shard, row in the shard) of the first ones.
        run: the run, for the files' names.
        column: the id column's name.

    Raises:
        DataError: there is one.

    """
    if nulls:
        places = "; ".join(_place(run, shard, row) for shard, row in nulls[:NAMED])
        raise DataError(f"null ids ({places}); give every row an id", column=column)


def check_ids(tables: Iterable[pa.Table], run: Run, column: str) -> None:
    """Refuse duplicate ids.

    Args:
        tables: rows with id, tie, shard and row, such that equal hashes lie in one table.
        run: the run, for the files' names.
        column: the id column's name.

    Raises:
        DataError: two rows have one id, or two ids one hash.

    """
    found: list[tuple[tuple[int, int], str]] = []
    duplicates = 0
    for table in tables:
        ties = table.column("tie").to_numpy()
        order = np.argsort(ties, kind="stable")
        same = np.flatnonzero(ties[order][1:] == ties[order][:-1])
        duplicates += len(same)
        if len(same):
            firsts, seconds = (
                table.take(order[same[:NAMED]]).to_pylist(),
                table.take(order[same[:NAMED] + 1]).to_pylist(),
            )
            found += [_describe(a, b, run, column) for a, b in zip(firsts, seconds, strict=True)]
    if found:
        named = "; ".join(text for _, text in sorted(found)[:NAMED])
        raise DataError(
            f"{duplicates} duplicate ids ({named}); give every row an id of its own", column=column
        )


def _describe(
    one: dict[str, object], other: dict[str, object], run: Run, column: str
) -> tuple[tuple[int, int], str]:
    if one["id"] != other["id"]:
        problem = (
            f"ids {one['id']!r} and {other['id']!r} have the same hash under this seed; set another run.seed"
        )
        raise DataError(problem, column=column)
    first, second = sorted([(int(str(r["shard"])), int(str(r["row"]))) for r in (one, other)])
    return first, f"{one['id']!r} in {_place(run, *first)} and {_place(run, *second)}"


def _place(run: Run, shard: int, row: int) -> str:
    where = run.shards[shard]
    return f"{run.files[where.file].uri} row {where.start + row}"
