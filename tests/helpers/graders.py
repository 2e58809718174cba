"""Reference graders for tests, and what they make of one answer."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from routellm_batch.config.graders import GraderConfig
from routellm_batch.evaluation.graders import Grade, Question, ReferenceGrader

_CONFIG: TypeAdapter[Any] = TypeAdapter(GraderConfig)


def grader_config(kind: str, **settings: Any) -> Any:
    """Return a validated grader config whose references are in column ``r``."""
    return _CONFIG.validate_python({"kind": kind, "reference": "r", **settings})


def grader(kind: str, **settings: Any) -> ReferenceGrader:
    """Return a reference grader."""
    return ReferenceGrader(grader_config(kind, **settings))


def grade_of(one: ReferenceGrader, reference: Any, answer: str | None) -> Grade:
    """Return the grade of an answer."""
    return one.grade(Question("a", "What?", reference), answer)
