"""What a grade is, and what gives one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from routellm_batch.core.types import RowId

MAX_CHARS = 1 << 20
"""A longer answer is not read."""


class Problem(StrEnum):
    """What stood in a grader's way; the only thing that is ever said about it besides the row's id."""

    NULL_REFERENCE = "null_reference"
    BAD_REFERENCE = "bad_reference"
    """The reference is no number, letter or JSON."""
    NO_ANSWER = "no_answer"
    """The call failed, or nothing was recorded."""
    UNREAD = "unread"
    """The answer holds no number, letter, match or JSON."""
    TOO_LONG = "too_long"
    NO_LABEL = "no_label"
    NO_VERDICT = "no_verdict"
    """The call of the judge failed."""
    OUT_OF_FORMAT = "out_of_format"
    """The judge's reply ends with no verdict, in the second try too."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row to be graded."""

    id: RowId
    text: str
    """What was asked."""
    reference: Any = None
    """The right answer as the input has it; None where it is null or the grader needs none."""


@dataclass(frozen=True, slots=True)
class Grade:
    """How good an answer is."""

    score: float | None
    """In the grader's unit, higher is better; None where the answer is left unlabelled."""
    problem: Problem | None = None
    """Why it is unlabelled, or what a score of 0 is due to besides a wrong answer."""


class Grader(Protocol):
    """Says how good an answer is. Never raises on what an answer or a reference holds."""

    def grade(self, question: Question, answer: str | None) -> Grade:
        """Return the grade of one answer; of none, where the call failed, it is unlabelled."""
        ...


def unlabelled(problem: Problem) -> Grade:
    """Return the grade of an answer that none can be given to."""
    return Grade(None, problem)
