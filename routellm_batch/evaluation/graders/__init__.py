"""Graders: how good an answer is. ``make_graders`` makes one for each route; the judge is in ``judge.py``."""

from __future__ import annotations

from collections.abc import Mapping

from routellm_batch.answers.readers import MAX_CHARS
from routellm_batch.answers.thinking import without_thinking
from routellm_batch.config.graders import LabelsConfig
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.graders.grade import Grade, Grader, Problem, Question, unlabelled
from routellm_batch.evaluation.graders.labels import read_labels
from routellm_batch.evaluation.graders.options import NamedOption
from routellm_batch.evaluation.graders.references import ReferenceConfig, ReferenceReader, Unusable

__all__ = [
    "Grade",
    "Grader",
    "Problem",
    "Question",
    "ReferenceConfig",
    "ReferenceGrader",
    "make_graders",
    "unlabelled",
]


class ReferenceGrader:
    """Gives 1 where an answer says what a reference says, or one of several, and 0 where it says something else.

    Args:
        config: of the grader.
        named: how references name an option, for ``choice``; None: as the config says, or by letter.

    """

    def __init__(self, config: ReferenceConfig, named: NamedOption | None = None) -> None:
        self._unread = Grade(0.0 if config.unread == "wrong" else None, Problem.UNREAD)
        self._references = ReferenceReader(config, named)

    def grade(self, question: Question, answer: str | None) -> Grade:
        """Return the grade of one answer: 1 or 0, or none with the problem that prevents it."""
        wanted = self._references.read(question.reference, question.options)
        if wanted is None:
            return unlabelled(Problem.NULL_REFERENCE)
        if isinstance(wanted, Unusable):
            return unlabelled(Problem.BAD_REFERENCE)
        if answer is None:
            return unlabelled(Problem.NO_ANSWER)
        answer = without_thinking(answer)  # a recorded answer may hold it
        if len(answer) > MAX_CHARS:
            return unlabelled(Problem.TOO_LONG)
        reader = self._references.answers
        reading = reader.answer(answer)
        if reading is None:
            return self._unread
        return Grade(float(any(reader.same(reading, one) for one in wanted)))


def make_graders(
    config: ReferenceConfig | LabelsConfig, named: NamedOption | None = None
) -> Mapping[Route, Grader]:
    """Return the grader of each route's answers, as route → grader.

    Args:
        config: of the grader.
        named: how references name an option, for ``choice``; None: as the config says, or by letter.

    Raises:
        DataError: the file of labels can't be used.

    """
    if isinstance(config, LabelsConfig):
        return read_labels(config)
    return dict.fromkeys(ROUTES, ReferenceGrader(config, named))
