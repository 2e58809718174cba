"""Whole answers and what a pattern matches: which differences count."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers.graders import grade_of, grader

from routellm_batch.evaluation.graders import Grade, Problem


@pytest.mark.parametrize(
    ("reference", "answer", "settings", "expected"),
    [
        ("Paris", "  paris \n", {}, 1),
        ("Paris", "paris", {"case": True}, 0),
        ("New  York", "new\nyork", {}, 1),
        ("Paris", "Paris.", {}, 0),
        ("Paris", "“Paris”!", {"punctuation": False}, 1),
        ("x-ray", "x ray", {"punctuation": False}, 1),
        (12, "12", {}, 1),
        ("ﬁne", "fine", {}, 1),
        ("Paris", "It is Paris", {}, 0),
    ],
)
def test_exact(reference: Any, answer: str, settings: dict[str, Any], expected: float) -> None:
    """Space and case do not count, nor punctuation where the config leaves it out."""
    assert Grade(expected) == grade_of(grader("exact", **settings), reference, answer)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Grade(1)),
        ({"match": "first"}, Grade(0)),
        ({"pattern": r"(?i)VALUE: (?:the )?(\w+)"}, Grade(1)),
        ({"pattern": r"nothing (\d)"}, Grade(0, Problem.UNREAD)),
        ({"case": True}, Grade(0)),
    ],
)
def test_regex(settings: dict[str, Any], expected: Grade) -> None:
    """The group of the last match, or of the first if asked for, is compared with the reference."""
    one = grader("regex", **{"pattern": r"value: (\w+)", **settings})
    assert expected == grade_of(one, "Blue", "value: red\nthen\nvalue: blue\nend")


def test_regex_takes_linear_time() -> None:
    """A pattern that makes a backtracking engine try every split of a long answer is done within a second."""
    one = grader("regex", pattern=r"(?:(a+)+)$")
    begun = time.process_time()
    assert Grade(0, Problem.UNREAD) == grade_of(one, "a", "a" * 50_000 + "!")
    assert time.process_time() - begun < 5  # a backtracking engine takes 2^50,000 steps
