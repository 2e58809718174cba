"""Graders: how good an answer is. ``make_graders`` makes one for each route; the judge is in ``judge.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa

from routellm_batch.answers.choices import ChoiceReader
from routellm_batch.answers.numbers import NumericReader
from routellm_batch.answers.structures import JsonReader
from routellm_batch.answers.texts import ExactReader, RegexReader
from routellm_batch.answers.thinking import without_thinking
from routellm_batch.config.graders import (
    ChoiceConfig,
    ExactConfig,
    JsonConfig,
    LabelsConfig,
    NumericConfig,
    RegexConfig,
)
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.graders.grade import MAX_CHARS, Grade, Grader, Problem, Question, unlabelled
from routellm_batch.evaluation.graders.labels import read_labels
from routellm_batch.storage.labelled import require

ReferenceConfig = ExactConfig | NumericConfig | ChoiceConfig | RegexConfig | JsonConfig
_READERS: Mapping[type[Any], type[Any]] = {
    ExactConfig: ExactReader,
    NumericConfig: NumericReader,
    ChoiceConfig: ChoiceReader,
    RegexConfig: RegexReader,
    JsonConfig: JsonReader,
}

__all__ = [
    "Grade",
    "Grader",
    "Problem",
    "Question",
    "ReferenceGrader",
    "check_reference",
    "make_graders",
    "unlabelled",
]


class _Reader(Protocol):
    """Reads from a text what is compared; None where the text holds nothing to compare."""

    def reference(self, value: object) -> Any: ...

    def answer(self, text: str) -> Any: ...

    def same(self, answer: Any, reference: Any) -> bool: ...


class ReferenceGrader:
    """Gives 1 where an answer says what the reference says, and 0 where it says something else."""

    def __init__(self, config: ReferenceConfig) -> None:
        self._unread = Grade(0.0 if config.unread == "wrong" else None, Problem.UNREAD)
        self._reader: _Reader = _READERS[type(config)](config)

    def grade(self, question: Question, answer: str | None) -> Grade:
        """Return the grade of one answer: 1 or 0, or none with the problem that prevents it."""
        if question.reference is None:
            return unlabelled(Problem.NULL_REFERENCE)
        wanted = self._reader.reference(question.reference)
        if wanted is None:
            return unlabelled(Problem.BAD_REFERENCE)
        if answer is None:
            return unlabelled(Problem.NO_ANSWER)
        answer = without_thinking(answer)  # a recorded answer may hold it
        if len(answer) > MAX_CHARS:
            return unlabelled(Problem.TOO_LONG)
        reading = self._reader.answer(answer)
        if reading is None:
            return self._unread
        return Grade(float(self._reader.same(reading, wanted)))


def make_graders(config: ReferenceConfig | LabelsConfig) -> Mapping[Route, Grader]:
    """Return the grader of each route's answers, as route → grader.

    Raises:
        DataError: the file of labels can't be used.

    """
    if isinstance(config, LabelsConfig):
        return read_labels(config)
    return dict.fromkeys(ROUTES, ReferenceGrader(config))


def check_reference(table: pa.Table, column: str, uri: str) -> None:
    """Check that the input has a reference column that is not all null.

    Raises:
        DataError: there is no such column, or all of it is null; the error names file and column.

    """
    require(table, [column], uri)
    if table.column(column).null_count == table.num_rows:
        raise DataError("every reference is null, so no answer can be graded", file=uri, column=column)
