"""Labels for a pilot's sample: each answer graded, and what was paid and counted beside it. ``outcomes.parquet``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.config.graders import GraderConfig, JudgeConfig, reference_of
from routellm_batch.config.job import Config
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.graders import Grade, Problem, Question, make_graders, unlabelled
from routellm_batch.evaluation.graders.judge import Pair
from routellm_batch.evaluation.graders.questions import questions
from routellm_batch.pipeline.ask import AskResult, Purse
from routellm_batch.pipeline.judge.verdicts import ask_judge
from routellm_batch.pipeline.pilot.draw import STRATUM, TOKENS, WEIGHT

OUTCOME_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("strong_score", pa.float64()),
        ("weak_score", pa.float64()),
        *(
            (f"{route}_{name}", kind)
            for route in ROUTES
            for name, kind in (
                ("input_tokens", pa.int64()),
                ("output_tokens", pa.int64()),
                ("cost_usd", pa.decimal128(18, 9)),
            )
        ),
        ("estimated_tokens", pa.int64()),
        ("stratum", pa.int32()),
        ("weight", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Graded:
    """A pilot's labels."""

    outcomes: pa.Table
    """By ``OUTCOME_SCHEMA``: a row for each sampled prompt; a score is null where there is none."""
    problems: Mapping[str, int]
    """Why answers have no score, or none but 0 → answers."""
    stopped: AskResult | None = None
    """The judge's run that has to be gone on with first."""


def labelled(outcomes: pa.Table) -> pa.Table:
    """Return the rows of which both grades are known, in their order."""
    known = outcomes.filter(outcomes.column("strong_score").is_valid())
    return known.filter(known.column("weak_score").is_valid())


def grade_sample(
    config: Config, grader: GraderConfig, sample: pa.Table, answers: Mapping[Route, AskResult], purse: Purse
) -> Graded:
    """Grade both answers to each sampled prompt.

    Args:
        config: the job.
        grader: who grades.
        sample: as ``sample.parquet`` holds it.
        answers: of both endpoints.
        purse: pays a judge.

    Raises:
        DataError: labels of people that can't be used.
        BudgetStopError: nothing is left for the judge.

    """
    asked = _questions(config, sample, grader)
    said = {route: _by_id(answers[route]) for route in ROUTES}
    if isinstance(grader, JudgeConfig):
        pairs = [_pair(one, said) for one in asked]
        verdicts = ask_judge(purse, pairs, grader)
        if isinstance(verdicts, AskResult):
            return Graded(_outcomes(sample, asked, said, {}), {}, verdicts)
        grades = {
            (str(one.id), route): getattr(verdicts.grades[str(one.id)], route)
            for one in asked
            for route in ROUTES
        }
    else:
        graders = make_graders(grader)
        grades = {
            (str(one.id), route): graders[route].grade(one, _answer(said[route].get(str(one.id))))
            for one in asked
            for route in ROUTES
        }
    problems = Counter(str(grade.problem) for grade in grades.values() if grade.problem is not None)
    return Graded(_outcomes(sample, asked, said, grades), dict(sorted(problems.items())))


def _questions(config: Config, sample: pa.Table, grader: GraderConfig) -> list[Question]:
    """Return the sampled rows as questions; all of them are valid, or they had not been drawn."""
    ids = [_plain(row_id) for row_id in sample.column(config.input.columns.id).to_pylist()]
    asked = questions(config.input, sample, ids, reference_of(grader))
    return [one for one in asked if one is not None]


def _plain(row_id: Any) -> Any:
    return row_id.decode("utf-8") if isinstance(row_id, bytes) else row_id


def _by_id(result: AskResult) -> dict[str, dict[str, Any]]:
    return {} if result.rows is None else {str(row["id"]): row for row in result.rows.to_pylist()}


def _answer(row: Mapping[str, Any] | None) -> str | None:
    return row["answer"] if row is not None and row["status"] == "ok" else None


def _pair(one: Question, said: Mapping[Route, Mapping[str, Mapping[str, Any]]]) -> Pair:
    strong, weak = (_answer(said[route].get(str(one.id))) for route in ROUTES)
    reference = None if one.reference is None else str(one.reference)
    return Pair(one.id, one.text, strong, weak, reference)


def _outcomes(
    sample: pa.Table,
    asked: Sequence[Question],
    said: Mapping[Route, Mapping[str, Mapping[str, Any]]],
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
        rows = [said[route].get(str(one.id)) for one in asked]
        columns[f"{route}_score"] = [grades.get((str(one.id), route), nothing).score for one in asked]
        for name in ("input_tokens", "output_tokens", "cost_usd"):
            columns[f"{route}_{name}"] = [
                row[name] if _answer(row) is not None and row else None for row in rows
            ]
    return pa.Table.from_pydict({name: columns[name] for name in OUTCOME_SCHEMA.names}, schema=OUTCOME_SCHEMA)
