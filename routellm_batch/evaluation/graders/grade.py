"""What a grade is, and the protocol of the graders that give one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from routellm_batch.core.types import RowId


class Problem(StrEnum):
    """Why an answer could not be graded; nothing else is ever logged of it but the row's id."""

    NULL_REFERENCE = "null_reference"
    """The row has no reference: it is null, NaN, empty text, or a list of nothing."""
    BAD_REFERENCE = "bad_reference"
    """The reference is not a number, an option or JSON, as the grader needs it."""
    NO_ANSWER = "no_answer"
    """The call failed, or nothing was recorded."""
    UNREAD = "unread"
    """The answer holds no number, letter, match or JSON to compare."""
    TOO_LONG = "too_long"
    NO_LABEL = "no_label"
    NO_VERDICT = "no_verdict"
    """The call to the judge failed."""
    OUT_OF_FORMAT = "out_of_format"
    """The judge's reply does not end with a verdict, at the second try either."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row to be graded."""

    id: RowId
    text: str
    """The prompt."""
    reference: Any = None
    """The right answer as the input has it, or a list of several; None where it is null or the grader needs none."""
    options: Any = None
    """The options of a multiple-choice question as the input has them; None where no column of options is named."""


@dataclass(frozen=True, slots=True)
class Grade:
    """How good an answer is."""

    score: float | None
    """In the grader's unit, higher is better; None where the answer is left unlabelled."""
    problem: Problem | None = None
    """Why the answer is unlabelled, or why it has a score of 0 without being read."""


class Grader(Protocol):
    """Grades answers. Never raises, whatever an answer or a reference holds."""

    def grade(self, question: Question, answer: str | None) -> Grade:
        """Return the grade of one answer; where it is None, because the call failed, the grade is unlabelled."""
        ...


def unlabelled(problem: Problem) -> Grade:
    """Return the grade of an answer that could not be graded."""
    return Grade(None, problem)
