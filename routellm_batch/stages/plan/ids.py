"""Refuses null and duplicate ids before anything is spent, and names the first three."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.stages.plan.spill import repeated
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

NAMED_FIRST = 3
"""Ids that a message names."""
PLACE = np.dtype([("tie", "<u8"), ("shard", "<i4"), ("row", "<i4")])
"""Where a row lies, and the keyed hash of its id."""


def check_nulls(nulls: Sequence[tuple[int, int]], run: Run, column: str) -> None:
    """Refuse null ids.

    Args:
        nulls: (shard, row in the shard) of the first ones.
        run: the run, for the files' names.
        column: the id column's name.

    Raises:
        DataError: ``nulls`` is not empty.

    """
    if nulls:
        places = "; ".join(_place(run, shard, row) for shard, row in nulls[:NAMED_FIRST])
        raise DataError(f"null ids ({places}); give every row an id", column=column)


def check_ids(parts: Iterable[NDArray[np.void]], run: Run, column: str) -> None:
    """Refuse duplicate ids.

    Args:
        parts: rows as ``PLACE``, such that equal hashes lie in one part.
        run: the run; the ids to be named are read from its score shards.
        column: the id column's name.

    Raises:
        DataError: two rows have one id, or two ids one hash.

    """
    first, duplicates = list[tuple[int, int, int, int]](), 0
    for part in parts:
        same = part[repeated(part["tie"])]
        same = same[np.lexsort((same["row"], same["shard"], same["tie"]))]
        at = np.flatnonzero(same["tie"][1:] == same["tie"][:-1])
        duplicates += len(at)
        # An id is named once, however often it occurs.
        _, once = np.unique(same["tie"][at], return_index=True)
        at = at[once]
        at = at[np.lexsort((same["row"][at], same["shard"][at]))[:NAMED_FIRST]]
        pairs = zip(same[at][["shard", "row"]].tolist(), same[at + 1][["shard", "row"]].tolist(), strict=True)
        first = sorted([*first, *((*one, *other) for one, other in pairs)])[:NAMED_FIRST]
    if first:
        named = "; ".join(_describe(pair[:2], pair[2:], run, column) for pair in first)
        raise DataError(
            f"{duplicates} duplicate ids ({named}); give every row an id of its own", column=column
        )


def _describe(one: tuple[int, int], other: tuple[int, int], run: Run, column: str) -> str:
    first, second = _id_at(run, *one), _id_at(run, *other)
    if first != second:
        problem = f"ids {first!r} and {second!r} have the same hash under this seed; set another run.seed"
        raise DataError(problem, column=column)
    return f"{first!r} in {_place(run, *one)} and {_place(run, *other)}"


def _id_at(run: Run, shard: int, row: int) -> object:
    data = run.store.read(f"score/{run.shards[shard].name}.parquet")
    return from_parquet(data, ["id"]).column("id")[row].as_py()


def _place(run: Run, shard: int, row: int) -> str:
    where = run.shards[shard]
    return f"{run.files[where.file].uri} row {where.start + row}"
