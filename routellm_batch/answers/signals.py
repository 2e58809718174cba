"""Signals of B answers as columns: what can be seen of a cheap answer, and of those that others gave to the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.answers.agreement import AnswerReader, Comparison, compare
from routellm_batch.answers.numbers import Number
from routellm_batch.answers.surface import SURFACE, surface
from routellm_batch.core.arrays import Floats, Ints

VALUE = ("is_fraction", "log_size", "is_negative")
"""Columns of the number that an answer gives; 0 where it gives none."""
LOOK = (*SURFACE, *VALUE)
"""Columns of an answer alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What is seen of B answers of the weak model, with K other answers to each prompt."""

    usable: NDArray[np.bool_]
    """[B], whether the answer can be used at all."""
    differs: Floats
    """[B, K], 1 where another answer says something else, 0 where it says the same; NaN where it did not come."""
    others_differ: Floats
    """[B, K (K − 1) / 2], the same for each pair of other answers."""
    look: Floats
    """[B, F], one column for each of ``LOOK``."""

    def __len__(self) -> int:
        return len(self.usable)

    @property
    def disagreement(self) -> Floats:
        """[B], share of the other answers that differ; NaN where none came or the answer can't be used."""
        came = np.isfinite(self.differs)
        count = came.sum(axis=1)
        total = np.where(came, self.differs, 0).sum(axis=1)
        known = (count > 0) & self.usable
        share: Floats = np.where(known, total / np.maximum(count, 1), np.nan)
        return share

    def take(self, rows: Ints) -> Signals:
        """Return the signals of some rows, int64 indices."""
        return Signals(self.usable[rows], self.differs[rows], self.others_differ[rows], self.look[rows])


def find_signals(
    prompts: Sequence[str],
    answers: Sequence[str | None],
    others: Sequence[Sequence[str | None]],
    reader: AnswerReader,
) -> Signals:
    """Return the signals of B answers.

    Args:
        prompts: B prompts.
        answers: the weak model's answers; None where there is none.
        others: K other answers to each prompt; None for one that did not come.
        reader: reads and compares answers.

    """
    compared = [compare(reader, answer, row) for answer, row in zip(answers, others, strict=True)]
    values = np.array([_value(one.reading) for one in compared]).reshape(-1, len(VALUE))
    return Signals(
        usable=np.array([one.usable for one in compared], dtype=np.bool_),
        differs=_columns(compared, "differs"),
        others_differ=_columns(compared, "others_differ"),
        look=np.hstack([surface(prompts, [answer or "" for answer in answers]), values]),
    )


def _columns(compared: Sequence[Comparison], name: str) -> Floats:
    rows = [[np.nan if cell is None else float(cell) for cell in getattr(one, name)] for one in compared]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _value(reading: Any) -> tuple[float, float, float]:
    if not isinstance(reading, Number):
        return 0.0, 0.0, 0.0
    value = reading.value * reading.scale
    digits = abs(value.numerator) // value.denominator
    # The logarithm of a whole number of any length; a float would overflow.
    return float(value.denominator != 1), float(digits.bit_length()), float(value < 0)
