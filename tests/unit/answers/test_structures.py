"""The first JSON value of an answer, compared by structure."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.graders import grade_of, grader

from routellm_batch.evaluation.graders import Grade, Problem


@pytest.mark.parametrize(
    ("reference", "answer", "settings", "expected"),
    [
        ('{"a": 1, "b": [2, 3]}', '{"b": [2, 3.0], "a": 1}', {}, Grade(1)),
        ('{"a": 1}', 'Here:\n```json\n{"a": 1}\n```\nas you {"a": 2} asked', {}, Grade(1)),
        ('{"a": 1}', 'I say {"a": 1} and not {"a": 2}', {}, Grade(1)),
        ('{"a": 1}', "{well} [sic] {oops", {}, Grade(0, Problem.UNREAD)),
        ('{"a": 1}', '{"a": 1, "b": 2}', {}, Grade(0)),
        ('{"a": 1, "c": 3}', '{"a": 1, "b": 2}', {"keys": ["a"]}, Grade(1)),
        ('{"a": 1}', '{"b": 1}', {"keys": ["a"]}, Grade(0)),
        ("[1, 2]", "[2, 1]", {}, Grade(0)),
        ("1", "true", {}, Grade(0)),
        ("100", "101", {"tolerance": 0.02}, Grade(1)),
        ("null", "null", {}, Grade(1)),
        ({"a": [1]}, '{"a": [1]}', {}, Grade(1)),
        ('{"a": 1}', "[" * 100_000, {}, Grade(0, Problem.UNREAD)),
        ('{"a": 1}', '{"a": NaN}', {}, Grade(0, Problem.UNREAD)),
    ],
)
def test_json(reference: Any, answer: str, settings: dict[str, Any], expected: Grade) -> None:
    """The first JSON value counts by its structure: neither the order of keys nor the text around it."""
    assert expected == grade_of(grader("json", **settings), reference, answer)


@pytest.mark.parametrize(
    "answer",
    [
        'as shown in [12], {"a": 1}',
        'See [1] and [2, 3]: {"a": 1}.',
        '```json {"a": 1}```',
        '```{"a": 1}```',
        'Sure! Here it is: ```json {"a": 1} ``` I hope that helps.',
        'Here is the JSON:\n{"a": 1}\nIt names a.',
        '{"a": 1} [3]',
        '\ufeff{"a": 1}',
        '{"a": 1}<|im_end|>\n<|im_start|>user\n{"a": 2}',
        "{'a': 1}",
        '{"a": 1,}',
        '<answer>{"a": 1}</answer>',
        'In {b} we have {"a": 1}',
    ],
)
def test_what_stands_around_an_object_does_not_count(answer: str) -> None:
    """An object is read after a source's number, in a fence of one line, and between a lead-in and an explanation."""
    assert Grade(1) == grade_of(grader("json"), '{"a": 1}', answer)


def test_a_list_of_numbers_counts_where_it_is_alone() -> None:
    """A list that could cite a source is the answer where there is no other value."""
    assert Grade(1) == grade_of(grader("json"), "[12]", "The list is [12], I think.")


@pytest.mark.parametrize("answer", ['{"b": {"a": 1}, ', '[{"a": 1}, {"a"', '{"b": {"a": 1} "c": 2}'])
def test_a_part_of_broken_json_does_not_count(answer: str) -> None:
    """An object within one that is cut off or broken is not the answer."""
    assert Grade(0, Problem.UNREAD) == grade_of(grader("json"), '{"a": 1}', answer)
