"""Outcomes, which are prompts with the graded answers of both models: how they are read, and which rows are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import PromptBatch
from routellm_batch.evaluation.answers import Answers, read_answers
from routellm_batch.evaluation.dollars import Costs, Tariff, find_costs
from routellm_batch.storage.labelled import labels, numbers, read_table, require, texts

COLUMNS = ("prompt_id", "prompt", "strong_score", "weak_score")


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """N prompts with the quality of both models' answers."""

    uri: str
    """Path or URI of the file."""
    ids: Sequence[str]
    """Length N, ids of the prompts."""
    prompts: Sequence[str]
    """Length N, their texts."""
    strong: NDArray[np.float64]
    """[N], quality of the strong model's answer, in the file's own unit."""
    weak: NDArray[np.float64]
    """[N], the same of the weak model's."""
    rows: NDArray[np.int64]
    """[N], index of each row among the ``of`` rows that were read."""
    of: int
    """Rows that were read. A bootstrap draws from all of them, so that parts of one set share its resamples."""
    costs: Costs | None = None
    """What each answer cost; None where that is unknown."""
    answers: Answers | None = None
    """What cheap models answered; None where that was not asked for."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def gain(self) -> NDArray[np.float64]:
        """[N], quality of the strong model's answer − that of the weak one's."""
        return self.strong - self.weak

    @property
    def batch(self) -> PromptBatch:
        """The prompts in the form that a router scores."""
        return PromptBatch(self.ids, self.prompts)

    def take(self, rows: NDArray[np.int64]) -> Outcomes:
        """Return the outcomes of some of the rows."""
        return Outcomes(
            self.uri,
            [self.ids[row] for row in rows],
            [self.prompts[row] for row in rows],
            self.strong[rows],
            self.weak[rows],
            self.rows[rows],
            self.of,
            self.costs.take(rows) if self.costs else None,
            self.answers.take(rows) if self.answers else None,
        )


def read_outcomes(
    uri: str, where: Mapping[str, str], tariff: Tariff | None = None, *, answers: bool = False
) -> Outcomes:
    """Read a Parquet file, glob or folder of outcomes, without its contaminated rows.

    Args:
        uri: path or URI.
        where: column → value; a row is kept if each of these columns, as text, has its value.
        tariff: prices, and further files of token counts.
        answers: whether to read what cheap models answered, too.

    Raises:
        DataError: the file can't be read, lacks a column or has a row without a prompt or a score, or no row is left.

    """
    table = read_table(uri)
    require(table, [*COLUMNS, *where], uri)
    kept = np.array([value != "true" for value in labels(table, "contaminated")])
    for column, value in where.items():
        kept &= np.array([cell == value for cell in labels(table, column)])
    rows = np.flatnonzero(kept)
    if not len(rows):
        asked = " and ".join(f"{column}={value}" for column, value in where.items())
        raise DataError(f"no row is left{f' with {asked}' if asked else ''}", file=uri)
    ids, prompts = labels(table, "prompt_id"), texts(table, "prompt", uri)
    return Outcomes(
        uri,
        [ids[row] for row in rows],
        [prompts[row] for row in rows],
        numbers(table, "strong_score", uri)[rows],
        numbers(table, "weak_score", uri)[rows],
        np.arange(len(rows)),
        len(rows),
        find_costs(table, rows, uri, tariff or Tariff()),
        read_answers(table, rows, uri) if answers else None,
    )


def contradictions(outcomes: Outcomes) -> dict[str, int]:
    """Return how many ``prompts`` occur more than once with different grades for a model, and how many ``rows``."""
    _, kind = np.unique(np.array(outcomes.prompts, dtype=object), return_inverse=True)
    differs = np.zeros(int(kind.max()) + 1, dtype=np.bool_)
    for grades in (outcomes.strong, outcomes.weak):
        low, high = np.full(len(differs), np.inf), np.full(len(differs), -np.inf)
        np.minimum.at(low, kind, grades)
        np.maximum.at(high, kind, grades)
        differs |= high > low
    return {"prompts": int(differs.sum()), "rows": int(differs[kind].sum())}
