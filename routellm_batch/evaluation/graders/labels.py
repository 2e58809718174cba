"""The grader ``labels``: scores that people gave, read from Parquet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from routellm_batch.config.graders import LabelsConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.graders.grade import Grade, Problem, Question, unlabelled
from routellm_batch.storage.labelled import read_table, require

Scores = tuple[float | None, float | None]
"""Score of the strong and of the weak model's answer; None where nobody gave one."""


@dataclass(frozen=True, slots=True)
class LabelGrader:
    """Looks up the score of a row's answer; what the answer says does not matter."""

    scores: Mapping[str, float | None]
    """Id, as text → score."""

    def grade(self, question: Question, answer: str | None) -> Grade:
        """Return the score that people gave to this row's answer."""
        del answer
        score = self.scores.get(str(question.id))
        return unlabelled(Problem.NO_LABEL) if score is None else Grade(score)


def read_labels(config: LabelsConfig) -> Mapping[Route, LabelGrader]:
    """Return each route's grader, with all of its labels.

    Raises:
        DataError: the file can't be read or lacks a column; an id is null, a score is not a finite number, or two rows of
            one id differ.

    """
    table = read_table(config.uri)
    names = (config.strong_score, config.weak_score)
    require(table, [config.id, *names], config.uri)
    columns = [_scores(table, name, config.uri) for name in names]
    by_id: dict[str, tuple[int, Scores]] = {}
    for row, (value, strong, weak) in enumerate(
        zip(table.column(config.id).to_pylist(), *columns, strict=True)
    ):
        if value is None:
            raise DataError("is null", file=config.uri, column=config.id, row=row)
        first, before = by_id.setdefault(str(value), (row, (strong, weak)))
        if before != (strong, weak):
            problem = f"its labels contradict those of row {first}, which has the same id; keep one of them"
            raise DataError(problem, file=config.uri, column=config.id, row=row)
    return {
        route: LabelGrader({name: scores[side] for name, (_, scores) in by_id.items()})
        for side, route in enumerate(ROUTES)
    }


def _scores(table: pa.Table, name: str, uri: str) -> list[float | None]:
    kind = table.column(name).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"is {kind}; it must be a number", file=uri, column=name)
    values = [None if value is None else float(value) for value in table.column(name).to_pylist()]
    for row, value in enumerate(values):
        if value is not None and not math.isfinite(value):
            raise DataError(
                "is not a finite number; leave an unknown score null", file=uri, column=name, row=row
            )
    return values
