"""Answers beside outcomes: the weak model's, which a cascade looks at, and others to the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.storage.labelled import require

WEAK_COLUMN, CHECK_COLUMN = "weak_response", "check_response"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What cheap models answered to N prompts."""

    weak: Sequence[str | None]
    """Length N, the weak model's answers; None where there is none."""
    others: Sequence[Sequence[str | None]]
    """N rows of K other answers: first the weak model's further samples, then those of check models."""
    samples: int
    """How many of the K are further samples of the weak model."""

    @property
    def checks(self) -> int:
        """How many of the K are answers of check models."""
        return (len(self.others[0]) if self.others else 0) - self.samples

    def take(self, rows: NDArray[np.int64]) -> Answers:
        """Return the answers to some of the prompts."""
        return Answers([self.weak[row] for row in rows], [self.others[row] for row in rows], self.samples)


def read_answers(table: pa.Table, rows: NDArray[np.int64], uri: str) -> Answers:
    """Return the answers of some rows of a table of outcomes.

    ``weak_response`` is text, or a list: the first is the answer, the others samples. ``check_response`` is optional: text,
    or a list with an answer of each check model.

    Raises:
        DataError: there is no ``weak_response``, or a column is neither text nor a list of texts.

    """
    require(table, [WEAK_COLUMN], uri)
    weak = _lists(table, WEAK_COLUMN, rows, uri)
    checks = (
        _lists(table, CHECK_COLUMN, rows, uri) if CHECK_COLUMN in table.column_names else [[]] * len(rows)
    )
    samples = max(0, max((len(one) for one in weak), default=0) - 1)
    width = max((len(one) for one in checks), default=0)
    return Answers(
        weak=[one[0] if one else None for one in weak],
        others=[
            [*_padded(one[1:], samples), *_padded(other, width)]
            for one, other in zip(weak, checks, strict=True)
        ],
        samples=samples,
    )


def _lists(table: pa.Table, name: str, rows: NDArray[np.int64], uri: str) -> list[list[str | None]]:
    """Return the texts in each cell of a column; a text is a list of one, a null cell an empty list."""
    column = table.column(name).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    inner = column.type.value_type if _is_list(column.type) else column.type
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner)):
        raise DataError(f"is {column.type}; it must be text, or a list of texts", file=uri, column=name)
    cells = column.take(pa.array(rows)).to_pylist()
    if _is_list(column.type):
        return [list(cell or []) for cell in cells]
    return [[] if cell is None else [cell] for cell in cells]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _padded(texts: Sequence[str | None], width: int) -> list[str | None]:
    return [*texts, *[None] * (width - len(texts))]
