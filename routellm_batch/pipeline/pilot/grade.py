"""Labels for a pilot's sample, ``outcomes.parquet``: the grade of each answer, with its tokens and its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.config.graders import GraderConfig, JudgeConfig
from routellm_batch.config.job import InputConfig
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.graders import Grade, Problem, Question, make_graders, unlabelled
from routellm_batch.evaluation.graders.judge import Pair
from routellm_batch.evaluation.graders.options import NamedOption
from routellm_batch.evaluation.graders.questions import questions
from routellm_batch.evaluation.graders.references import shown_to_judge
from routellm_batch.pipeline.ask import AskBudget, AskResult
from routellm_batch.pipeline.judge.verdicts import ask_judge
from routellm_batch.pipeline.pilot.draw import STRATUM, TOKENS, WEIGHT
from routellm_batch.storage.tables import OUTCOME_COST, outcome_schema

OUTCOME_SCHEMA = outcome_schema(
    ("estimated_tokens", pa.int64()), ("stratum", pa.int32()), ("weight", pa.float64())
)


@dataclass(frozen=True, slots=True)
class Graded:
    """A pilot's labels."""

    outcomes: pa.Table
    """A row of ``OUTCOME_SCHEMA`` for each sampled prompt; a score is null where the answer has no grade."""
    problems: Mapping[str, int]
    """Why answers have no grade, or the grade 0 → number of answers."""
    stopped: AskResult | None = None
    """The ask of the judge that has to be resumed first, where one stopped."""


def grade_sample(
    inputs: InputConfig,
    grader: GraderConfig,
    sample: pa.Table,
    answers: Mapping[Route, AskResult],
    budget: AskBudget,
    named: NamedOption | None = None,
) -> Graded:
    """Return the grades of both answers to each sampled prompt.

    Args:
        inputs: names of the input columns.
        grader: of the pilot.
        sample: the rows of ``sample.parquet``.
        answers: route → its answers.
        budget: what a judge may spend.
        named: how the input's references name an option, for ``choice``.

    Raises:
        DataError: people's labels can't be read.
        BudgetStopError: what is left does not pay for the judge.
        EndpointStopError: the judge can't be reached.

    """
    asked = _questions(inputs, sample, grader)
    rows_of = {route: _by_id(answers[route]) for route in ROUTES}
    if isinstance(grader, JudgeConfig):
        pairs = [_pair(one, rows_of) for one in asked]
        verdicts = ask_judge(budget, pairs, grader)
        if isinstance(verdicts, AskResult):
            return Graded(_outcomes(sample, asked, rows_of, {}), {}, verdicts)
        grades = {
            (str(one.id), route): getattr(verdicts.grades[str(one.id)], route)
            for one in asked
            for route in ROUTES
        }
    else:
        graders = make_graders(grader, named)
        grades = {
            (str(one.id), route): graders[route].grade(one, _answer(rows_of[route].get(str(one.id))))
            for one in asked
            for route in ROUTES
        }
    problems = Counter(str(grade.problem) for grade in grades.values() if grade.problem is not None)
    return Graded(_outcomes(sample, asked, rows_of, grades), dict(sorted(problems.items())))


def _questions(inputs: InputConfig, sample: pa.Table, grader: GraderConfig) -> list[Question]:
    """Return the sampled rows as questions; all of them are valid, as only such rows are drawn."""
    ids = [_plain(row_id) for row_id in sample.column(inputs.columns.id).to_pylist()]
    asked = questions(inputs, sample, ids, grader)
    return [one for one in asked if one is not None]


def _plain(row_id: Any) -> Any:
    return row_id.decode("utf-8") if isinstance(row_id, bytes) else row_id


def _by_id(result: AskResult) -> dict[str, dict[str, Any]]:
    return {} if result.rows is None else {str(row["id"]): row for row in result.rows.to_pylist()}


def _answer(row: Mapping[str, Any] | None) -> str | None:
    return row["answer"] if row is not None and row["status"] == "ok" else None


def _pair(one: Question, rows_of: Mapping[Route, Mapping[str, Mapping[str, Any]]]) -> Pair:
    strong, weak = (_answer(rows_of[route].get(str(one.id))) for route in ROUTES)
    return Pair(one.id, one.text, strong, weak, shown_to_judge(one.reference))


def _outcomes(
    sample: pa.Table,
    asked: Sequence[Question],
    rows_of: Mapping[Route, Mapping[str, Mapping[str, Any]]],
    grades: Mapping[tuple[str, Route], Grade],
) -> pa.Table:
    columns: dict[str, Any] = {
        "prompt_id": [str(one.id) for one in asked],
        "prompt": [one.text for one in asked],
        "estimated_tokens": sample.column(TOKENS),
        "stratum": sample.column(STRATUM),
        "weight": sample.column(WEIGHT),
    }
    nothing = unlabelled(Problem.NO_VERDICT)
    for route in ROUTES:
        rows = [rows_of[route].get(str(one.id)) for one in asked]
        columns[f"{route}_score"] = [grades.get((str(one.id), route), nothing).score for one in asked]
        for name in OUTCOME_COST:
            columns[f"{route}_{name}"] = [
                row[name] if _answer(row) is not None and row else None for row in rows
            ]
    return pa.Table.from_pydict({name: columns[name] for name in OUTCOME_SCHEMA.names}, schema=OUTCOME_SCHEMA)
