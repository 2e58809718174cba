"""The letter that an answer to a multiple-choice question settles on."""

from __future__ import annotations

import pytest
from helpers.graders import grade_of, grader

from routellm_batch.evaluation.graders import Grade, Problem


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is (C).", "C"),
        ("C.", "C"),
        (r"so \boxed{C}", "C"),
        (r"$\boxed{\text{C}}$", "C"),
        ("**c**", "C"),
        ("Answer: B. No, wait.\nAnswer: C", "C"),
        ("The correct answer is: **C) foo**", "C"),
        ("answer: c", "C"),
        ("The best option is letter C because A is not.", "C"),
        ("Option C is correct", "C"),
        ("Hm.\n\nC", "C"),
        ("C) the third", "C"),
        ("The answer is A dog", None),
        ("The answer is (A) or (B)", None),
        ("A. one\nB. two\nC. three", None),
        ("I think so", None),
        ("The answer is Apple", None),
        ("The answer is I.", "I"),
        ("The answer is A because the rest is wrong", "A"),
    ],
)
def test_choice(answer: str, letter: str | None) -> None:
    """The last letter that an answer calls its answer counts; an article, a pronoun or two letters do not."""
    one = grader("choice")
    matches = [candidate for candidate in "ABCDEFGHIJ" if grade_of(one, candidate, answer).score == 1]
    assert ([] if letter is None else [letter]) == matches


def test_choice_letters_are_configured() -> None:
    """A letter that the question does not have is no answer."""
    assert Grade(0, Problem.UNREAD) == grade_of(grader("choice", letters="ABCD"), "D", "The answer is (E)")


@pytest.mark.parametrize("reference", ["C", "(c)", "C. the third", " C "])
def test_choice_references(reference: str) -> None:
    """A reference may be a letter, in brackets, or with its option's text."""
    assert Grade(1) == grade_of(grader("choice"), reference, "The answer is C")
